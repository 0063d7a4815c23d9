// Tokens' texts to the text that they are of, as they come.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/normalizer.hpp"

namespace kvcache::text {

/// A part of a token's text, of whole characters.
struct Fragment {
  std::string_view text;
  bool begins;  // the token's first
  bool ends;    // the token's last; what is fused ends when all does
};

/// Takes fragments of tokens, in order, and passes on what they become. What was passed on never
/// changes.
class DecoderStage {
 public:
  DecoderStage() = default;
  DecoderStage(const DecoderStage&) = delete;
  DecoderStage& operator=(const DecoderStage&) = delete;
  virtual ~DecoderStage() = default;

  virtual void push(const Fragment& fragment) = 0;
  /// There is no more.
  virtual void finish() = 0;
};

/// The reference's decoders, each by its name there.
struct ReplaceDecoder {
  std::shared_ptr<const Replace> replace;
};
struct ByteFallbackDecoder {};
struct FuseDecoder {};
struct StripDecoder {
  std::string content;  // one character
  std::size_t start;    // how many of it go at a token's beginning
  std::size_t stop;     // and at its end
};
struct MetaspaceDecoder {
  std::string replacement;  // one character
  bool prepends;            // what the first token begins with is no space of the text's
};
struct ByteLevelDecoder {};
/// A space between two tokens: what the reference does where a file has no decoder.
struct JoinDecoder {};

using DecoderStep = std::variant<ReplaceDecoder, ByteFallbackDecoder, FuseDecoder, StripDecoder,
                                 MetaspaceDecoder, ByteLevelDecoder, JoinDecoder>;

/// The stages of one text, the last of which appends to `out`.
std::unique_ptr<DecoderStage> make_stages(const std::vector<DecoderStep>& steps, std::string& out);

}  // namespace kvcache::text
