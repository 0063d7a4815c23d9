// A file of choices, and texts that are drawn under it.
//
// The input is a file as of kvcache generate --choices, a NUL, and bytes that say which of the
// allowed tokens comes next. Whatever they say, the text is one of the choices in the end.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "choices_file.hpp"
#include "fuzz/expect_only_errors.hpp"
#include "kvcache/choices.hpp"
#include "text/tiny_tokenizer.hpp"
#include "token_list.hpp"

namespace {

using namespace kvcache;

/// The tokens of a text that the bytes draw; those missing count as zeros, and the text goes on
/// where it may end but need not.
std::vector<TokenId> drawn(Constraint& constraint, std::string_view bytes) {
  std::vector<TokenId> text;
  while (true) {
    TokenMask mask(constraint.vocab_size());
    constraint.allow_next(mask);
    const std::vector<TokenId> allowed = mask.tokens(mask.count());
    if (allowed.empty()) {
      if (!constraint.may_end()) {
        std::abort();  // it leads nowhere
      }
      return text;
    }
    const std::size_t byte = bytes.empty() ? 0 : static_cast<unsigned char>(bytes.front());
    bytes.remove_prefix(std::min<std::size_t>(1, bytes.size()));
    if (constraint.may_end() && byte == 255) {
      return text;
    }
    const auto other = static_cast<TokenId>(byte % constraint.vocab_size());
    if (!mask.allows(other) && constraint.accept(other)) {
      std::abort();
    }
    const TokenId next = allowed[byte % allowed.size()];
    if (!constraint.accept(next)) {
      std::abort();
    }
    if (byte % 2 != 0) {  // back, and again
      constraint.rollback(1);
      if (!constraint.accept(next)) {
        std::abort();
      }
    }
    text.push_back(next);
  }
}

void draw_text(const std::vector<std::string>& choices, const TokenBytes& tokens,
               std::string_view bytes) {
  const std::unique_ptr<Constraint> constraint = one_of(choices, tokens);
  std::string text;
  for (const TokenId token : drawn(*constraint, bytes)) {
    text += tokens.of(token);
  }
  if (std::ranges::find(choices, text) == choices.end()) {
    std::abort();
  }
}

void draw_ids(const std::vector<std::string>& lines, std::string_view bytes) {
  std::vector<std::vector<TokenId>> choices;
  choices.reserve(lines.size());
  for (const std::string& line : lines) {
    choices.push_back(cli::parse_ids(line, "--choices"));
  }
  const std::unique_ptr<Constraint> constraint = one_of(choices, 300);
  if (std::ranges::find(choices, drawn(*constraint, bytes)) == choices.end()) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Tokenizer tokenizer = Tokenizer::from_json(test::tiny_tokenizer().dump());
  static const TokenBytes every_byte(tokenizer, tokenizer.vocab_size() + 3, {});
  static const TokenBytes few({"a", "b", "ab", "", "ba", "\xC3", "\xA9", "hello", "\xA8\n", "1"});
  const std::string_view input = test::as_text(data, size);
  const std::size_t end = std::min(input.find('\0'), input.size());
  const std::string_view bytes = input.substr(std::min(end + 1, input.size()));
  std::vector<std::string> choices;
  test::expect_only_errors([&] { choices = cli::parse_choices(input.substr(0, end), "a file"); });
  test::expect_only_errors([&] { draw_text(choices, every_byte, bytes); });
  test::expect_only_errors([&] { draw_text(choices, few, bytes); });
  test::expect_only_errors([&] { draw_ids(choices, bytes); });
  return 0;
}
