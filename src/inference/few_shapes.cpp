#include "inference/few_shapes.hpp"

#include <algorithm>
#include <bit>

#include "base/rounding.hpp"

namespace kvcache::inference {
namespace {

constexpr std::size_t kMostFilledUp = 4096;  // tokens: what more take is no longer worth the graph
constexpr std::size_t kSmallVocabulary = 1024;
constexpr std::size_t kFewTokens = 8;  // each count of these has a shape of its own

/// At least `count`, and one of few sizes: up to some hundreds of tokens a GPU's time goes to the
/// weights, and to starting kernels. Above 1,024 an eighth is added at most.
std::size_t one_of_few(std::size_t count) {
  constexpr std::size_t kLeast = 4;
  constexpr std::size_t kStep = 128;
  return count <= kStep ? std::bit_ceil(std::max(count, kLeast))
                        : round_up(count, std::max(kStep, std::bit_ceil(count) / 16));
}

/// The same for what has one size only: so there are few with finer steps too, an eighth to a
/// quarter of the count.
std::size_t one_of_some(std::size_t count) {
  constexpr std::size_t kStep = 8;
  return count <= kFewTokens ? count : round_up(count, std::max(kStep, std::bit_ceil(count) / 8));
}

/// A prompt, or a token of each row.
void fill_up_chain(RunShape& shape) {
  if (shape.tokens <= kFewTokens) {
    return;
  }
  shape.num_logits = one_of_some(shape.logits_rows());
  shape.tokens = one_of_some(shape.tokens);
  if (shape.rows > 1) {
    shape.rows = shape.tokens;
  }
  shape.filled_up = true;  // also where nothing had to be added: a size is one shape
}

void fill_up_any(RunShape& shape, std::size_t vocab_size) {
  // Of a small vocabulary's logits all tokens' are as cheap as those of a few. A node may be chosen
  // more than once: then there are more rows of logits than tokens.
  const std::size_t logits = vocab_size <= kSmallVocabulary
                                 ? std::max(shape.tokens, shape.logits_rows())
                                 : shape.logits_rows();
  shape.tokens = one_of_few(shape.tokens);
  shape.num_logits = one_of_few(logits);
  shape.rows = shape.rows == 1 ? 1 : one_of_few(shape.rows);
  shape.filled_up = true;
}

}  // namespace

void fill_up(RunShape& shape, std::size_t vocab_size) {
  if (shape.tokens > kMostFilledUp) {
    return;
  }
  if (!shape.trees && (shape.rows == 1 || shape.tokens == shape.rows)) {
    fill_up_chain(shape);
  } else {
    fill_up_any(shape, vocab_size);
  }
}

}  // namespace kvcache::inference
