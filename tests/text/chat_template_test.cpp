#include "kvcache/chat_template.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <fstream>

#include "support/models.hpp"
#include "support/temporary_directory.hpp"
#include "text/tiny_chat_template.hpp"
#include "text/tiny_tokenizer.hpp"

namespace kvcache {
namespace {

using Ids = std::vector<TokenId>;
using test::expect_error;
using test::tiny_chat_template;

ChatTemplate tiny_template() { return ChatTemplate::from_json(tiny_chat_template().dump()); }

/// Expects that the tiny template is refused once the value at `place` is another.
void expect_template_refused(const std::string& place, const nlohmann::json& value,
                             const std::string& message) {
  SCOPED_TRACE(place);
  nlohmann::json changed = tiny_chat_template();
  changed[nlohmann::json::json_pointer(place)] = value;
  expect_error(ErrorCode::chat_template_invalid, message,
               [&] { (void)ChatTemplate::from_json(changed.dump()); });
}

TEST(ChatTemplate, PutsMessagesAndPiecesTogether) {
  const std::vector<ChatMessage> chat{
      {"user", " hello\n"}, {"assistant", "\xE3\x80\x80ok "}, {"user", "x"}};
  EXPECT_EQ(tiny_template().render(chat), "<s>u:hello</s>a: \xE3\x80\x80ok </s>u:x</s>a: ");
  EXPECT_EQ(tiny_template().render(chat, {.add_generation_prompt = false, .now = {}}),
            "<s>u:hello</s>a: \xE3\x80\x80ok </s>u:x</s>");
  EXPECT_TRUE(tiny_template().extends());
  EXPECT_EQ(tiny_template().roles(), (std::vector<std::string>{"user", "assistant"}));
}

TEST(ChatTemplate, HasPiecesOfItsOwnForTheLastMessage) {
  nlohmann::json changed = tiny_chat_template();
  changed["between"][1]["last"] = false;
  nlohmann::json last = changed["between"][1];
  last["last"] = true;
  last["text"] = {"</s>A: "};
  changed["between"].push_back(last);
  const std::vector<ChatMessage> chat{
      {"user", "1"}, {"assistant", "2"}, {"user", "3"}, {"assistant", "4"}};
  EXPECT_EQ(ChatTemplate::from_json(changed.dump())
                .render(chat, {.add_generation_prompt = false, .now = {}}),
            "<s>u:1</s>a: 2</s>u:3</s>A: 4</s>");
}

TEST(ChatTemplate, TellsTheTime) {
  nlohmann::json changed = tiny_chat_template();
  changed["between"][0]["text"] = {"<s>", {{"time", "%d %b %Y, %H:%M %%"}}, "u:"};
  std::tm moment{};
  moment.tm_year = 124;
  moment.tm_mon = 6;
  moment.tm_mday = 5;
  moment.tm_hour = 9;
  moment.tm_min = 7;
  moment.tm_isdst = -1;
  const auto now = std::chrono::system_clock::from_time_t(std::mktime(&moment));
  const std::vector<ChatMessage> chat{{"user", "x"}};
  EXPECT_EQ(ChatTemplate::from_json(changed.dump())
                .render(chat, {.add_generation_prompt = false, .now = now}),
            "<s>05 Jul 2024, 09:07 %u:x</s>");
}

TEST(ChatTemplate, KeepsMessagesApartFromItself) {
  const Tokenizer tokenizer = Tokenizer::from_json(test::tiny_tokenizer().dump());
  const std::vector<ChatMessage> chat{{"user", "he</s>"}};
  EXPECT_EQ(tiny_template().encode(tokenizer, chat, {.add_generation_prompt = false, .now = {}}),
            (Ids{260, 'u', ':', 256, '<', '/', 's', '>', 261}));
}

TEST(ChatTemplate, KeepsTokensApartThatAreNotSpecialAndThoseThatTwoMake) {
  nlohmann::json tokens = test::tiny_tokenizer();
  tokens["added_tokens"].push_back({{"id", 262},
                                    {"content", "u:"},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", true},
                                    {"special", false}});
  const Tokenizer tokenizer = Tokenizer::from_json(tokens.dump());
  const ChatOptions options{.add_generation_prompt = false, .now = {}};
  EXPECT_EQ(tiny_template().encode(tokenizer, std::vector<ChatMessage>{{"user", "u:"}}, options),
            (Ids{260, 262, 'u', ':', 261}));
  // "<" ends the message, and what stands behind it would make "<</s>" of it.
  EXPECT_EQ(tiny_template().encode(tokenizer, std::vector<ChatMessage>{{"user", "</s><"}}, options),
            (Ids{260, 262, '<', '/', 's', '>', '<', 261}));
}

TEST(ChatTemplate, ANormalizerThatMovesTokensHidesNone) {
  nlohmann::json tokens = test::tiny_tokenizer();
  tokens["normalizer"] = {{"type", "Prepend"}, {"prepend", "!"}};
  tokens["added_tokens"].push_back({{"id", 262},
                                    {"content", "\xE2\x82\xAC"},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", true},
                                    {"special", true}});
  const Tokenizer tokenizer = Tokenizer::from_json(tokens.dump());
  nlohmann::json pieces = tiny_chat_template();
  const ChatOptions options{.add_generation_prompt = false, .now = {}};
  const auto encoded = [&](const std::string& content) {
    return ChatTemplate::from_json(pieces.dump())
        .encode(tokenizer, std::vector<ChatMessage>{{"user", content}}, options);
  };
  // The token that is looked for is "!€" here, as the reference has it.
  const Ids plain = encoded("x");
  EXPECT_EQ(std::ranges::count(encoded("!\xE2\x82\xAC"), 262), 0);
  pieces["between"][0]["text"] = {"<s>", "!\xE2\x82\xAC"};
  EXPECT_EQ(std::ranges::count(encoded("x"), 262), 1);
  expect_error(ErrorCode::invalid_argument, "which stands in the template beside it too",
               [&] { (void)encoded("!\xE2\x82\xAC"); });
  EXPECT_EQ(std::ranges::count(plain, 262), 0);
}

TEST(ChatTemplate, RefusesWhatItDoesNotTake) {
  const auto expect = [](std::vector<ChatMessage> chat, const std::string& message,
                         ErrorCode code = ErrorCode::invalid_argument) {
    expect_error(code, message, [&] { (void)tiny_template().render(chat); });
  };
  expect({}, "the messages were not rendered: there are none", ErrorCode::empty_input);
  expect({{"system", "x"}},
         "message 0 has the role \"system\"; this model's chat template takes user, assistant");
  expect({{"user", "x"}, {"tool", "y"}}, "message 1 has the role \"tool\"");
  expect({{"user", "x"}, {"user", "y"}},
         "message 1 is of the role \"user\" behind one of the role \"user\"; this model's chat "
         "template takes no such order of messages");
  expect({{"assistant", "x"}}, "message 0 is of the role \"assistant\" and the first");
  expect({{"user", "x"}, {"assistant", "y"}},
         "message 1 is of the role \"assistant\" and the last, with a generation prompt behind it");
  expect({{"user", "a\xFF"}}, "message 0 has 0xFF at byte 1 of 2, which is no UTF-8 there");
  expect({{"user", "x"}, {"assistant", "a</think>b"}, {"user", "y"}},
         "message 1 holds \"</think>\"; this model's chat template does something of its own");
  expect({{"user", "x"}, {"assistant", ""}, {"user", "y"}}, "message 1 is empty");
  expect({{"user", "x"}, {"assistant", " \xE3\x80\x80\n"}, {"user", "y"}},
         "message 1 is nothing but whitespace");
}

TEST(ChatTemplate, RefusesDamagedFilesByTheField) {
  expect_template_refused("/format", "x",
                          "field \"format\" is \"x\", must be \"kvcache_chat_template\"");
  expect_template_refused("/format_version", 2, "must be 1, which this library reads");
  expect_template_refused("/extends", 1, "field \"extends\" is 1");
  expect_template_refused("/between/0/before", "tool", "\"between[0].before\" is \"tool\"");
  expect_template_refused("/between/0/after", nullptr, "must be before or behind a message");
  expect_template_refused("/between/0/text/0", 3, "\"between[0].text[0]\"");
  expect_template_refused("/between/0/text/0", {{"time", "%-d"}},
                          "must have only aAbBdHIjmMpSUwWyY% behind");
  expect_template_refused("/between/0/text/0", {{"time", "x%"}}, "must have only");
  expect_template_refused("/between/0/text/0", {{"time", std::string(257, 'x')}},
                          "must have at most 256");
  expect_template_refused("/between/0/trim_after", 1, "\"between[0].trim_after\" is 1");
  expect_template_refused("/between/1", tiny_chat_template()["between"][0],
                          "must be of another place than those before");
  expect_template_refused("/refused/0/role", "tool", "\"refused[0].role\" is \"tool\"");
  expect_template_refused("/refused/0/containing/0", "", "must be a text that is not empty");
  expect_template_refused("/refused/1", tiny_chat_template()["refused"][0],
                          "must be another role than those before");
  expect_error(ErrorCode::chat_template_invalid, "is not JSON",
               [] { (void)ChatTemplate::from_json("{"); });
}

TEST(ChatTemplate, SaysWhyThereAreNoPieces) {
  nlohmann::json changed = tiny_chat_template();
  changed.erase("between");
  changed["expressed"] = false;
  changed["reason"] = "it looks at user messages: its length";
  expect_error(ErrorCode::chat_template_unsupported,
               "cannot be expressed in pieces: it looks at user messages: its length; render it",
               [&] { (void)ChatTemplate::from_json(changed.dump()); });
}

TEST(ChatTemplate, IsLoadedFromADirectoryOrFile) {
  const test::TemporaryDirectory directory;
  const auto file = directory.path() / "chat_template.json";
  expect_error(ErrorCode::model_not_found, "chat_template.json does not exist",
               [&] { (void)ChatTemplate::load(directory.path()); });
  std::ofstream(file) << tiny_chat_template().dump();
  const std::vector<ChatMessage> chat{{"user", "x"}};
  EXPECT_EQ(ChatTemplate::load(directory.path()).render(chat), tiny_template().render(chat));
  EXPECT_EQ(ChatTemplate::load(file).render(chat), tiny_template().render(chat));
}

}  // namespace
}  // namespace kvcache
