// tokenizer.json from outside, and text and tokens given to what it describes.
//
// The input is a tokenizer.json, a NUL, and a text. Without a NUL all of it is a text for the tiny
// tokenizer of the tests. A tokenizer that is taken encodes the text and decodes the ids; so it
// does with the text's bytes taken for ids, at once and one by one, which must give the same.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/expect_only_errors.hpp"
#include "kvcache/tokenizer.hpp"
#include "text/tiny_tokenizer.hpp"

namespace {

using kvcache::TokenId;
using kvcache::Tokenizer;

void decode_both_ways(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  const std::string whole = tokenizer.decode(ids);
  std::string grown;
  auto stream = tokenizer.new_text();
  for (const TokenId id : ids) {
    grown += stream.push(id);
  }
  if (grown + stream.finish() != whole) {
    std::abort();
  }
}

void use(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<TokenId> ids;
  for (const char byte : text) {
    ids.push_back(static_cast<unsigned char>(byte));
  }
  kvcache::test::expect_only_errors([&] { decode_both_ways(tokenizer, ids); });
  kvcache::test::expect_only_errors([&] {
    decode_both_ways(tokenizer, tokenizer.encode(text));
    (void)tokenizer.encode(text, {.special_tokens_as_text = true});
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Tokenizer tiny = Tokenizer::from_json(kvcache::test::tiny_tokenizer().dump());
  const std::string_view input = kvcache::test::as_text(data, size);
  const std::size_t end = input.find('\0');
  if (end == std::string_view::npos) {
    use(tiny, input);
    return 0;
  }
  kvcache::test::expect_only_errors(
      [&] { use(Tokenizer::from_json(input.substr(0, end)), input.substr(end + 1)); });
  return 0;
}
