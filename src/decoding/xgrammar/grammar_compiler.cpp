#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "base/checked_json.hpp"
#include "base/error_boundary.hpp"
#include "base/throw_error.hpp"
#include "decoding/token_bytes.hpp"
#include "decoding/xgrammar/find.hpp"
#include "decoding/xgrammar/grammar_constraint.hpp"
#include "decoding/xgrammar/tvm_ffi.hpp"
#include "kvcache/grammar.hpp"
#include "text/utf8.hpp"

namespace kvcache {
namespace {

using decoding::xgrammar::Any;
using decoding::xgrammar::CallFailed;
using decoding::xgrammar::Function;
using decoding::xgrammar::of_bool;
using decoding::xgrammar::of_int;
using decoding::xgrammar::TextTokens;
using decoding::xgrammar::Value;

constexpr Meaning kGrammar{"the grammar was not compiled", ErrorCode::grammar_unavailable,
                           ErrorCode::run_failed};
constexpr std::size_t kLongestGrammar = std::size_t{1} << 20U;
constexpr int kMostThreads = 1024;
constexpr std::int64_t kRawBytes = 0;    // a vocabulary's type: tokens are their bytes
constexpr std::int64_t kAnyAmount = -1;  // of cache

/// What xgrammar says, without the time and the place in its sources.
std::string reason_of(const CallFailed& failed) {
  std::string_view text = failed.message;
  if (text.starts_with('[')) {
    const std::size_t place = text.find(".cc:");
    const std::size_t end = place == text.npos ? text.npos : text.find(": ", place);
    if (end != text.npos) {
      text.remove_prefix(end + 2);
    }
  }
  const std::size_t last = text.find_last_not_of(" \r\n");
  return in_quotes(text.substr(0, last == text.npos ? 0 : last + 1));
}

void check_grammar(std::string_view what, std::string_view text) {
  if (text.size() > kLongestGrammar) {
    throw_error(ErrorCode::grammar_invalid, "the {} has {} bytes, must have at most {}", what,
                text.size(), kLongestGrammar);
  }
  if (const auto invalid = text::first_invalid_byte(text)) {
    throw_error(ErrorCode::grammar_invalid, "the {} is not UTF-8 from byte {} on; convert it", what,
                *invalid);
  }
}

/// The vocabulary as xgrammar knows it: the bytes of each token, and behind the last a token that
/// ends a text, which no model has. Where it would be allowed, a text may end.
Value tokenizer_info(const TokenBytes& tokens) {
  std::vector<Value> owned;
  std::vector<Any> elements;
  owned.reserve(tokens.vocab_size() + 1);
  elements.reserve(owned.capacity());
  for (const std::string& bytes : tokens.table()->of_token) {
    elements.push_back(owned.emplace_back(decoding::xgrammar::bytes_of(bytes)).any());
  }
  elements.push_back(owned.emplace_back(decoding::xgrammar::bytes_of("</s>")).any());
  const Value vocabulary = decoding::xgrammar::array_of(elements);
  const auto end = static_cast<std::int64_t>(tokens.vocab_size());
  const std::array stop_tokens{of_int(end)};
  const Value stops = decoding::xgrammar::array_of(stop_tokens);
  const std::array arguments{vocabulary.any(), of_int(kRawBytes), of_int(end + 1), stops.any(),
                             of_bool(false)};
  return Function("TokenizerInfo", "__ffi_init__")(arguments);
}

/// The tokens that can be a part of JSON. Control characters are written \u001f there, and stand
/// outside of strings as white space only, of which line ends are enough; xgrammar allows them in
/// strings that have a maxLength.
TokenMask part_of_json(const TokenBytes::Table& tokens) {
  constexpr unsigned char kFirstPrintable = 0x20;
  TokenMask mask = tokens.is_text;
  for (std::size_t id = 0; id < tokens.of_token.size(); ++id) {
    if (std::ranges::any_of(tokens.of_token[id], [](char byte) {
          return static_cast<unsigned char>(byte) < kFirstPrintable && byte != '\n' && byte != '\r';
        })) {
      mask.forbid(static_cast<TokenId>(id));
    }
  }
  return mask;
}

}  // namespace

struct GrammarCompiler::Impl {
  Impl(const TokenBytes& tokens, int num_threads)
      : of_text(std::make_shared<const TextTokens>(*tokens.table(), tokens.table()->is_text)),
        of_json(
            std::make_shared<const TextTokens>(*tokens.table(), part_of_json(*tokens.table()))) {
    const Value info = tokenizer_info(tokens);
    const std::array arguments{info.any(), of_int(num_threads), of_bool(true), of_int(kAnyAmount)};
    compiler = Function("GrammarCompiler", "__ffi_init__")(arguments);
  }

  std::unique_ptr<Constraint> compiled(const Function& compile, std::span<const Any> arguments,
                                       const std::shared_ptr<const TextTokens>& usable,
                                       std::string_view what, std::string_view text) const {
    try {
      return decoding::xgrammar::constraint_of(compile(arguments), usable);
    } catch (const CallFailed& failed) {
      throw_error(ErrorCode::grammar_invalid, "xgrammar refuses the {} {}: {}; change it", what,
                  in_quotes(text), reason_of(failed));
    }
  }

  std::shared_ptr<const TextTokens> of_text;  // the tokens that may be part of one
  std::shared_ptr<const TextTokens> of_json;
  Value compiler;
};

GrammarCompiler::GrammarCompiler(const TokenBytes& tokens, const GrammarOptions& options) try {
  if (options.num_threads < 1 || options.num_threads > kMostThreads) {
    throw_error(ErrorCode::invalid_argument,
                "a grammar was to be compiled by {} threads, must be from 1 to {}",
                options.num_threads, kMostThreads);
  }
  decoding::xgrammar::load(decoding::xgrammar::find_packages(options.directory));
  impl_ = std::make_shared<const Impl>(tokens, options.num_threads);
} catch (const CallFailed& failed) {
  throw_error(ErrorCode::run_failed, "xgrammar did not take the vocabulary: {}", reason_of(failed));
} catch (...) {
  rethrow_system_as_error(kGrammar);
}

std::unique_ptr<Constraint> GrammarCompiler::json_schema(std::string_view schema,
                                                         const JsonSchemaOptions& options) const
    try {
  check_grammar("JSON schema", schema);
  const JsonDocument checked(schema, {.name = "the JSON schema",
                                      .code = ErrorCode::grammar_invalid,
                                      .advice = "give a JSON schema"});
  static const Function compile("GrammarCompiler", "compile_json_schema");
  const Value text = decoding::xgrammar::string_of(schema);
  const Any none;
  const std::array arguments{impl_->compiler.any(),
                             text.any(),
                             of_bool(options.any_whitespace),
                             none,
                             none,
                             of_bool(true),
                             none,
                             of_bool(false)};
  return impl_->compiled(compile, arguments, impl_->of_json, "JSON schema", schema);
} catch (...) {
  rethrow_system_as_error(kGrammar);
}

std::unique_ptr<Constraint> GrammarCompiler::regex(std::string_view pattern) const try {
  check_grammar("regular expression", pattern);
  static const Function compile("GrammarCompiler", "compile_regex");
  const Value text = decoding::xgrammar::string_of(pattern);
  const std::array arguments{impl_->compiler.any(), text.any()};
  return impl_->compiled(compile, arguments, impl_->of_text, "regular expression", pattern);
} catch (...) {
  rethrow_system_as_error(kGrammar);
}

}  // namespace kvcache
