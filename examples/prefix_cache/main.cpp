// Requests that begin alike: what was computed for one is found for the next by its tokens.
// Usage: example_prefix_cache MODEL_DIR
#include <cstdio>
#include <kvcache/kvcache.hpp>
#include <vector>

namespace {

using kvcache::TokenId;

int run(const char* directory) {
  kvcache::ModelOptions options;
  options.block_len = 4;  // whole blocks are remembered; this example's texts are short
  const kvcache::Model model = kvcache::Model::load(directory, options);
  kvcache::PrefixCache prefixes(model);

  const std::vector<std::vector<TokenId>> requests{{3, 1, 4, 1, 5, 9, 2, 6, 5, 3},
                                                   {3, 1, 4, 1, 5, 9, 8, 8},
                                                   {2, 7, 1},
                                                   {3, 1, 4, 1, 5, 9, 8, 7}};
  bool all_equal = true;
  for (const std::vector<TokenId>& request : requests) {
    kvcache::Sequence sequence = prefixes.acquire(request);
    const std::size_t known = sequence.length();
    const kvcache::Logits logits = sequence.extend(std::span(request).subspan(known));
    prefixes.insert(sequence);

    const bool equal = logits.argmax() == model.forward_without_cache(request).argmax();
    all_equal = all_equal && equal;
    std::printf("%zu tokens, %zu known, next %lld%s\n", request.size(), known,
                static_cast<long long>(logits.argmax()), equal ? "" : " (NOT AS FROM NOTHING)");
  }
  const kvcache::PrefixCacheStats stats = prefixes.stats();
  std::printf("%llu hits, %llu misses, %llu tokens reused\n",
              static_cast<unsigned long long>(stats.hits),
              static_cast<unsigned long long>(stats.misses),
              static_cast<unsigned long long>(stats.tokens_reused));
  return all_equal && stats.hits == 2 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: example_prefix_cache MODEL_DIR\n");
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (const kvcache::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
