// A text four times as long as the model's positions, in constant memory.
// Usage: example_window MODEL_DIR
#include <cstdio>
#include <kvcache/kvcache.hpp>
#include <vector>

namespace {

using kvcache::TokenId;

int run(const char* directory) {
  const kvcache::Model model = kvcache::Model::load(directory);
  const std::size_t positions = model.info().max_seq_len;

  // When all positions are used, half of them stay: the first four tokens, and the latest ones.
  kvcache::WindowedSequence text(
      model, {.size = positions / 2, .stride = positions - positions / 2, .sinks = 4});
  const std::vector<TokenId> prompt{3, 1, 4, 1, 5};
  kvcache::Logits logits = text.extend(prompt);
  while (text.length() < 4 * positions) {
    const TokenId next = logits.argmax();
    logits = text.extend({&next, 1});
  }
  std::printf(
      "%llu tokens, the model sees %zu; slid %llu times, %.2f tokens encoded anew per token\n",
      static_cast<unsigned long long>(text.length()), text.context().length(),
      static_cast<unsigned long long>(text.slides()),
      static_cast<double>(text.tokens_encoded_anew()) / static_cast<double>(text.length()));
  std::printf("cache at its peak: %zu bytes\n", model.cache_stats().bytes_peak);

  // The window's logits are those of a plain forward over what it kept.
  const kvcache::Logits plain = model.forward_without_cache(text.context().tokens());
  return plain.argmax() == logits.argmax() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: example_window MODEL_DIR\n");
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (const kvcache::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
