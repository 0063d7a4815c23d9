// A text that is decoded as its tokens come.
//
// The first byte of the input chooses a decoder; the second says whether special tokens are
// skipped, and how many tokens in a text end another one that the stream began with; each further
// byte is a token. What a stream has given is whole characters, is the beginning of what decoding
// those tokens at once gives, and all of it in the end; a token that there is not changes nothing.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/expect_only_errors.hpp"
#include "kvcache/error.hpp"
#include "kvcache/tokenizer.hpp"
#include "text/tiny_tokenizer.hpp"
#include "text/utf8.hpp"

namespace {

using kvcache::DecodeOptions;
using kvcache::TextStream;
using kvcache::TokenId;
using kvcache::Tokenizer;
using kvcache::test::expect;
using nlohmann::json;

constexpr TokenId kNoToken = 100'000;
constexpr std::size_t kMostTokens = 200;  // each is decoded with all before it

/// As SentencePiece makes them: bytes that are no piece are tokens of their own.
json pieces(const json& decoder) {
  json vocab = json::object();
  int next = 0;
  for (const char* piece : {"<unk>", "\u2581", "a", "b", "\u2581ab", "\u00e9", "\u2581\u2581", "<",
                            "\uFFFD", "\u4f60", " ", "\n"}) {
    vocab[piece] = next++;
  }
  for (int byte = 0; next < 254; ++byte) {
    vocab[fmt::format("<0x{:02X}>", byte + 20)] = next++;
  }
  json made = kvcache::test::tiny_tokenizer();
  made["model"] = {{"type", "BPE"},
                   {"unk_token", "<unk>"},
                   {"byte_fallback", true},
                   {"vocab", vocab},
                   {"merges", json::array()}};
  made["added_tokens"][0]["id"] = 254;
  made["added_tokens"][1]["id"] = 255;
  made["pre_tokenizer"] = nullptr;
  made["post_processor"] = nullptr;
  made["decoder"] = decoder;
  return made;
}

const std::vector<Tokenizer>& tokenizers() {
  static const std::vector<Tokenizer> all = [] {
    const json space{{"type", "Replace"}, {"pattern", {{"String", "\u2581"}}}, {"content", " "}};
    const json bytes{{"type", "ByteFallback"}};
    const json fuse{{"type", "Fuse"}};
    const json strip{{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}};
    const json end{{"type", "Strip"}, {"content", "b"}, {"start", 0}, {"stop", 2}};
    const json meta{{"type", "Metaspace"}, {"replacement", "\u2581"}, {"prepend_scheme", "always"}};
    const auto sequence = [](const std::vector<json>& steps) {
      return pieces({{"type", "Sequence"}, {"decoders", steps}});
    };
    std::vector<Tokenizer> made;
    for (const json& one :
         {kvcache::test::tiny_tokenizer(), sequence({space, bytes, fuse, strip}), pieces(meta),
          sequence({bytes, fuse, space}), sequence({space, end}), pieces(bytes), pieces(nullptr)}) {
      made.push_back(Tokenizer::from_json(one.dump()));
    }
    return made;
  }();
  return all;
}

void push_no_token(TextStream& stream) {
  try {
    (void)stream.push(kNoToken);
  } catch (const kvcache::Error& error) {
    expect(error.code() == kvcache::ErrorCode::token_out_of_range);
    return;
  }
  std::abort();
}

void decode(const Tokenizer& tokenizer, const std::vector<TokenId>& tokens, std::size_t before,
            const DecodeOptions& options) {
  TextStream stream = tokenizer.new_text(options);
  for (std::size_t i = 0; i < before; ++i) {
    (void)stream.push(tokens[i]);
  }
  (void)stream.finish();
  std::string grown;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const std::string piece = stream.push(tokens[i]);
    expect(!kvcache::text::first_invalid_byte(piece));
    grown += piece;
    expect(tokenizer.decode(std::span(tokens).first(i + 1), options).starts_with(grown));
    if (i % 7 == 3) {
      push_no_token(stream);
    }
  }
  expect(grown + stream.finish() == tokenizer.decode(tokens, options));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) {
    return 0;
  }
  const Tokenizer& tokenizer = tokenizers()[data[0] % tokenizers().size()];
  const std::vector<TokenId> tokens(data + 2, data + std::min(size, kMostTokens));
  const std::size_t before = tokens.empty() ? 0 : data[1] / 2 % tokens.size();
  kvcache::test::expect_only_errors(
      [&] { decode(tokenizer, tokens, before, {.skip_special_tokens = data[1] % 2 != 0}); });
  return 0;
}
