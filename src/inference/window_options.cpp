#include "inference/window_options.hpp"

#include <algorithm>

#include "base/throw_error.hpp"

namespace kvcache::inference {
namespace {

/// Of the model's positions, where they can be used up by sliding: encoding anew at their end then
/// costs a seventh of a token per token.
constexpr std::size_t kDefaultShare = 8;

bool fits(const WindowOptions& options, std::size_t positions) {
  return options.stride > 0 && options.size <= positions &&
         options.stride <= positions - options.size;
}

/// Whole blocks leave at a time.
WindowOptions to_keep(WindowOptions options, std::size_t positions, std::size_t block_len) {
  options.sliding = Sliding::keep;
  if (options.size == 0) {
    options.size = std::max(positions / kDefaultShare, options.sinks + 1);
  }
  options.stride = std::max<std::size_t>(options.stride / block_len, 1) * block_len;
  return options;
}

WindowOptions to_encode_anew(WindowOptions options, std::size_t positions) {
  options.sliding = Sliding::encode_anew;
  if (options.size == 0) {
    options.size = (positions + 1) / 2;
  }
  if (options.stride == 0 && options.size < positions) {
    options.stride = positions - options.size;
  }
  return options;
}

WindowOptions with_defaults(const WindowOptions& options, const ModelInfo& model,
                            std::size_t block_len) {
  const std::size_t positions = model.max_seq_len;
  if (options.sliding == Sliding::keep && !model.relative_positions) {
    throw_error(ErrorCode::invalid_argument,
                "the window cannot keep keys and values as it slides: {} has learned positions, "
                "and a key belongs to its token's; let it slide by Sliding::encode_anew",
                model.model_type);
  }
  const WindowOptions kept = to_keep(options, positions, block_len);
  const bool slides = fits(kept, positions) && kept.stride <= positions - kept.size - kept.stride;
  const bool keeps = options.sliding == Sliding::keep ||
                     (options.sliding == Sliding::by_model && model.relative_positions && slides);
  return keeps ? kept : to_encode_anew(options, positions);
}

}  // namespace

WindowOptions resolve(const WindowOptions& options, const ModelInfo& model, std::size_t block_len) {
  const WindowOptions resolved = with_defaults(options, model, block_len);
  if (!fits(resolved, model.max_seq_len)) {
    throw_error(ErrorCode::invalid_argument,
                "a window of {} tokens with a stride of {} does not fit: size + stride must be at "
                "most the model's {} positions, and the stride at least 1{}",
                resolved.size, resolved.stride, model.max_seq_len,
                resolved.sliding == Sliding::keep ? ", in whole blocks of block_len" : "");
  }
  if (resolved.sinks >= resolved.size) {
    throw_error(ErrorCode::invalid_argument,
                "{} sinks leave no room for later tokens in a window of {}; fewer sinks are needed",
                resolved.sinks, resolved.size);
  }
  return resolved;
}

}  // namespace kvcache::inference
