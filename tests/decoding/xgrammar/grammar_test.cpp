#include "kvcache/grammar.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "decoding/random_choices.hpp"
#include "kvcache/generate.hpp"
#include "kvcache/speculation.hpp"
#include "support/models.hpp"
#include "text/tiny_tokenizer.hpp"

namespace kvcache {
namespace {

using nlohmann::json;
using test::allowed_by;
using test::expect_error;
using test::Random;

constexpr TokenId kEnd = 261;  // </s>

/// Over a tokenizer with all bytes and a few words. Skipped where xgrammar is not there.
class Grammar : public testing::Test {
 protected:
  void SetUp() override {
    try {
      compiler_.emplace(tokens_);
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::grammar_unavailable) << error.what();
      GTEST_SKIP() << error.what();
    }
  }

  /// A text that any of the allowed tokens go on with, or its end, each as probable; nothing where
  /// it has not ended after so many tokens.
  std::optional<std::string> random_text(const Constraint& constraint, Random& random,
                                         std::size_t most) const {
    const auto state = constraint.fork();
    std::vector<TokenId> text;
    while (text.size() < most) {
      std::vector<TokenId> allowed = allowed_by(*state);
      EXPECT_TRUE(!allowed.empty() || state->may_end());
      if (state->may_end()) {
        allowed.push_back(kEnd);
      }
      if (allowed.empty()) {
        break;
      }
      text.push_back(random.pick(allowed));
      if (text.back() == kEnd) {
        text.pop_back();
        return tokenizer_.decode(text);
      }
      EXPECT_TRUE(state->accept(text.back()));
    }
    return std::nullopt;
  }

  Tokenizer tokenizer_ = Tokenizer::from_json(test::tiny_tokenizer().dump());
  TokenBytes tokens_{tokenizer_, tokenizer_.vocab_size(), std::vector<TokenId>{kEnd}};
  std::optional<GrammarCompiler> compiler_;
};

// ---- JSON schemas
// --------------------------------------------------------------------------------

json random_schema(Random& random, int depth) {
  switch (random.integer(depth > 0 ? 0 : 2, 6)) {
    case 0: {
      json schema{{"type", "object"}, {"properties", json::object()}, {"required", json::array()}};
      for (std::int64_t i = random.integer(1, 3); i > 0; --i) {
        const std::string name = random.pick(std::vector<std::string>{"a", "hello", "é", "x y"});
        schema["properties"][name] = random_schema(random, depth - 1);
      }
      for (const auto& [name, of] : schema["properties"].items()) {
        if (random.chance(0.6)) {
          schema["required"].push_back(name);
        }
      }
      return schema;
    }
    case 1:
      return {{"type", "array"},
              {"items", random_schema(random, depth - 1)},
              {"minItems", random.integer(0, 1)},
              {"maxItems", random.integer(1, 3)}};
    case 2:
      return {{"type", "boolean"}};
    case 3:
      return {{"type", "integer"},
              {"minimum", random.integer(-200, 0)},
              {"maximum", random.integer(0, 5000)}};
    case 4:
      return {{"type", "string"}, {"maxLength", random.integer(1, 6)}};
    case 5:
      return {{"enum", {"hello", 7, nullptr, random.integer(0, 9)}}};
    default:
      return {{"type", "null"}};
  }
}

std::size_t characters_of(const std::string& text) {
  return static_cast<std::size_t>(
      std::ranges::count_if(text, [](char byte) { return (byte & 0xC0) != 0x80; }));
}

/// Whether a value is of a schema of random_schema(), by the definition of each keyword there.
bool is_valid(const json& value, const json& schema) {
  if (schema.contains("enum")) {
    return std::ranges::find(schema["enum"], value) != schema["enum"].end();
  }
  const std::string type = schema["type"];
  if (type == "object") {
    return value.is_object() &&
           std::ranges::all_of(
               schema["required"],
               [&](const json& name) { return value.contains(name.get<std::string>()); }) &&
           std::ranges::all_of(value.items(), [&](const auto& field) {
             return schema["properties"].contains(field.key()) &&
                    is_valid(field.value(), schema["properties"][field.key()]);
           });
  }
  if (type == "array") {
    return value.is_array() && value.size() >= schema["minItems"].get<std::size_t>() &&
           value.size() <= schema["maxItems"].get<std::size_t>() &&
           std::ranges::all_of(value,
                               [&](const json& item) { return is_valid(item, schema["items"]); });
  }
  if (type == "integer") {
    return value.is_number_integer() && value >= schema["minimum"] && value <= schema["maximum"];
  }
  if (type == "string") {
    return value.is_string() &&
           characters_of(value.get<std::string>()) <= schema["maxLength"].get<std::size_t>();
  }
  return type == "boolean" ? value.is_boolean() : value.is_null();
}

/// 200 schemas, 50 texts of each: all are valid.
TEST_F(Grammar, TenThousandTextsOfRandomSchemasAreValid) {
  std::size_t ended = 0;
  std::size_t all = 0;
  test::for_random_cases(200, [&](Random& random) {
    const json schema = random_schema(random, 2);
    SCOPED_TRACE(schema.dump());
    const auto constraint = compiler_->json_schema(schema.dump());
    for (int i = 0; i < 50; ++i) {
      ++all;
      const auto text = random_text(*constraint, random, 2000);
      if (!text) {
        continue;
      }
      ++ended;
      const json value = json::parse(*text, nullptr, false);
      ASSERT_FALSE(value.is_discarded()) << *text;
      ASSERT_TRUE(is_valid(value, schema)) << *text;
    }
  });
  EXPECT_EQ(ended, all);
}

TEST_F(Grammar, WhiteSpaceIsWherePythonWritesItUnlessAllowedAnywhere) {
  const std::string schema =
      R"({"type": "object", "properties": {"a": {"const": 1}, "b": {"const": 2}},
          "required": ["a", "b"]})";
  const auto fixed = compiler_->json_schema(schema);
  test::for_random_cases(20, [&](Random& random) {
    EXPECT_EQ(random_text(*fixed, random, 100), R"({"a": 1, "b": 2})");
  });
  const auto anywhere = compiler_->json_schema(schema, {.any_whitespace = true});
  for (const char byte : std::string("{\n \"a\":1")) {
    ASSERT_TRUE(anywhere->accept(byte));
  }
}

// ---- Regular expressions
// -------------------------------------------------------------------------

TEST_F(Grammar, TextsMatchTheirRegularExpression) {
  for (const char* pattern :
       {"[a-z]{1,5}( [a-z]{1,5}){0,2}", "(a|bc)*d", "\\+[0-9]{2} [0-9]{3,4}", "hel+o?", "x?"}) {
    SCOPED_TRACE(pattern);
    const auto constraint = compiler_->regex(pattern);
    std::size_t ended = 0;
    test::for_random_cases(100, [&](Random& random) {
      if (const auto text = random_text(*constraint, random, 400)) {
        ++ended;
        EXPECT_TRUE(std::regex_match(*text, std::regex(pattern))) << *text;
      }
    });
    EXPECT_GT(ended, 0U);
  }
}

/// What both can say, they say alike: the same tokens at each step.
TEST_F(Grammar, AListAsARegularExpressionAllowsWhatTheListAllows) {
  const std::vector<std::string> choices{"hello", "hell", "he said", "é", "ê", "漢字", "e4"};
  std::string pattern;
  for (const std::string& choice : choices) {
    pattern += (pattern.empty() ? "" : "|") + choice;
  }
  const auto grammar = compiler_->regex(pattern);
  const auto list = one_of(choices, tokens_);
  test::for_random_cases(100, [&](Random& random) {
    const auto of_grammar = grammar->fork();
    const auto of_list = list->fork();
    while (true) {
      const std::vector<TokenId> allowed = allowed_by(*of_list);
      ASSERT_EQ(allowed_by(*of_grammar), allowed);
      ASSERT_EQ(of_grammar->may_end(), of_list->may_end());
      if (allowed.empty()) {
        break;
      }
      const TokenId token = random.pick(allowed);
      ASSERT_TRUE(of_grammar->accept(token));
      ASSERT_TRUE(of_list->accept(token));
    }
  });
}

TEST_F(Grammar, ForksAndRollbacksEqualAFreshRun) {
  const auto fresh = compiler_->regex("(hello|[a-f]{3}|é)*!");
  test::for_random_cases(50, [&](Random& random) {
    test::expect_forks_and_rollbacks_as_fresh(random, *fresh, [](Constraint& constraint) {
      for (const TokenId token : {TokenId{-1}, TokenId{'Z'}, kEnd, kEnd + 1, TokenId{1'000'000}}) {
        ASSERT_FALSE(constraint.accept(token));
      }
    });
  });
}

/// A model whose tokens are ASCII: the text is what it has to be, guessed or not.
TEST_F(Grammar, AModelsTextIsWhatItHasToBe) {
  const Model model = Model::load(test::model_path("plain"));
  std::vector<std::string> bytes(model.info().vocab_size);
  const auto end = static_cast<TokenId>(bytes.size()) - 1;
  for (std::size_t id = 0; id + 1 < bytes.size(); ++id) {
    bytes[id] = std::string(1, static_cast<char>(' ' + id % 95));
  }
  const auto constraint = GrammarCompiler(TokenBytes(bytes)).regex("[ABC]{3,6}( [DEF]{2})*!");
  const std::vector<TokenId> prompt{3, 1, 2};
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    GenerateOptions options{.max_new_tokens = 40, .sampling = {.temperature = 2, .seed = seed}};
    options.stop_tokens = {end};
    options.constraint = constraint.get();
    Sequence sequence = model.new_sequence();
    const Generated found = generate(sequence, prompt, options);
    std::string text;
    for (const TokenId token : found.tokens) {
      text += bytes[static_cast<std::size_t>(token)];
    }
    EXPECT_EQ(found.meets_constraint, std::regex_match(text, std::regex("[ABC]{3,6}( [DEF]{2})*!")))
        << text;
    Sequence guessed = model.new_sequence();
    DraftModel drafter(model);
    if (model.invariant_results()) {
      EXPECT_EQ(generate(guessed, prompt, options, drafter).tokens, found.tokens);
    }
  }
}

// ---- What is refused
// -----------------------------------------------------------------------------

TEST_F(Grammar, RefusesWhatIsNone) {
  const auto refused = [&](const char* message, const auto& call) {
    expect_error(ErrorCode::grammar_invalid, message, call);
  };
  refused("the JSON schema", [&] { static_cast<void>(compiler_->json_schema("{\"type\":")); });
  refused("xgrammar refuses the JSON schema \"{\\\"type\\\": \\\"bogus\\\"}\": \"Unsupported type",
          [&] { static_cast<void>(compiler_->json_schema("{\"type\": \"bogus\"}")); });
  refused("xgrammar refuses the regular expression \"(a\": \"Regex parsing error",
          [&] { static_cast<void>(compiler_->regex("(a")); });
  refused("the regular expression is not UTF-8 from byte 1 on",
          [&] { static_cast<void>(compiler_->regex("a\xFF")); });
  refused("the JSON schema has 1048577 bytes, must have at most 1048576", [&] {
    static_cast<void>(compiler_->json_schema(std::string((std::size_t{1} << 20U) + 1, ' ')));
  });
  std::string deep;
  for (int i = 0; i < 100'000; ++i) {
    deep += "{\"items\":";
  }
  refused("the JSON schema", [&] { static_cast<void>(compiler_->json_schema(deep)); });
  expect_error(ErrorCode::invalid_argument, "by 0 threads, must be from 1 to 1024",
               [&] { GrammarCompiler(tokens_, {.num_threads = 0}); });
  EXPECT_TRUE(compiler_->regex("a")->accept('a'));  // as before
}

TEST(GrammarWithoutXgrammar, SaysWhatToDo) {
  const Tokenizer tokenizer = Tokenizer::from_json(test::tiny_tokenizer().dump());
  const TokenBytes tokens(tokenizer, tokenizer.vocab_size(), {});
  expect_error(ErrorCode::grammar_unavailable,
               "need the library xgrammar 0.2.8, which is not in /nowhere (there is no "
               "xgrammar-0.2.8.dist-info); install it with pip install --no-deps xgrammar==0.2.8",
               [&] { GrammarCompiler(tokens, {.directory = "/nowhere"}); });
}

}  // namespace
}  // namespace kvcache
