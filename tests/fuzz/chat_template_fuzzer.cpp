// chat_template.json from outside, and messages given to what it describes.
//
// The input is a chat_template.json, a NUL, and contents with a NUL between two: a user's, an
// assistant's and so on, the first a system's where it begins with "s". Without a NUL all of it is
// a message for the tiny template of the tests, which has as many special tokens then as in the
// same chat of messages without any.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/expect_only_errors.hpp"
#include "kvcache/chat_template.hpp"
#include "text/tiny_chat_template.hpp"
#include "text/tiny_tokenizer.hpp"

namespace {

using kvcache::ChatMessage;
using kvcache::ChatTemplate;
using kvcache::TokenId;
using kvcache::Tokenizer;

std::vector<ChatMessage> messages_of(std::string_view contents) {
  std::vector<ChatMessage> messages;
  if (contents.starts_with('s')) {
    messages.push_back({"system", std::string(contents.substr(0, contents.find('\0')))});
    contents.remove_prefix(std::min(messages[0].content.size() + 1, contents.size()));
  }
  for (bool user = true;; user = !user) {
    const std::size_t end = contents.find('\0');
    messages.push_back({user ? "user" : "assistant", std::string(contents.substr(0, end))});
    if (end == std::string_view::npos) {
      return messages;
    }
    contents.remove_prefix(end + 1);
  }
}

const Tokenizer& tokenizer() {
  static const Tokenizer tiny = Tokenizer::from_json(kvcache::test::tiny_tokenizer().dump());
  return tiny;
}

void use(const ChatTemplate& chat_template, const std::vector<ChatMessage>& messages) {
  for (const bool generation : {false, true}) {
    const kvcache::ChatOptions options{.add_generation_prompt = generation, .now = {}};
    kvcache::test::expect_only_errors([&] {
      (void)chat_template.render(messages, options);
      (void)chat_template.encode(tokenizer(), messages, options);
    });
  }
}

void expect_nobody_speaks_for_others(const ChatTemplate& tiny,
                                     const std::vector<ChatMessage>& messages) {
  const auto special = [&](const std::vector<ChatMessage>& chat) {
    const std::vector<TokenId> ids =
        tiny.encode(tokenizer(), chat, {.add_generation_prompt = false, .now = {}});
    return std::ranges::count_if(ids, [&](TokenId id) { return tokenizer().is_special(id); });
  };
  kvcache::test::expect_only_errors([&] {
    const auto found = special(messages);
    std::vector<ChatMessage> plain = messages;
    for (ChatMessage& message : plain) {
      message.content = "x";
    }
    if (found != special(plain)) {
      std::abort();
    }
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const ChatTemplate tiny =
      ChatTemplate::from_json(kvcache::test::tiny_chat_template().dump());
  const std::string_view input = kvcache::test::as_text(data, size);
  const std::size_t end = input.find('\0');
  if (end == std::string_view::npos) {
    use(tiny, messages_of(input));
    expect_nobody_speaks_for_others(tiny, messages_of(input));
    return 0;
  }
  kvcache::test::expect_only_errors([&] {
    use(ChatTemplate::from_json(input.substr(0, end)), messages_of(input.substr(end + 1)));
  });
  return 0;
}
