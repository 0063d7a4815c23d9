// Several continuations of one prefix, each decoded on a fork of it.
//
// A fork shares the prefix's cache blocks: nothing is copied until a fork writes into a block that
// is partly filled, and then that one block. Usage: example_fork MODEL_DIR
#include <cstdio>
#include <kvcache/kvcache.hpp>
#include <vector>

namespace {

using kvcache::TokenId;

/// Appends `first`, then the best token again and again.
std::vector<TokenId> continue_with(kvcache::Sequence& sequence, TokenId first, int count) {
  std::vector<TokenId> tokens{first};
  while (static_cast<int>(tokens.size()) < count) {
    tokens.push_back(sequence.extend({&tokens.back(), 1}).argmax());
  }
  return tokens;
}

int run(const char* directory) {
  const kvcache::Model model = kvcache::Model::load(directory);
  const std::vector<TokenId> prompt{3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
  kvcache::Sequence prefix = model.new_sequence();
  const kvcache::Logits logits = prefix.extend(prompt);  // the prefix is computed once

  bool all_equal = true;
  for (const kvcache::TokenScore candidate : logits.top_k(3, 0)) {
    kvcache::Sequence fork = prefix.fork();
    const std::uint64_t copied_before = model.cache_stats().bytes_copied;
    const std::vector<TokenId> tokens = continue_with(fork, candidate.token, 6);
    const std::uint64_t copied = model.cache_stats().bytes_copied - copied_before;

    // The same from nothing.
    kvcache::Sequence fresh = model.new_sequence();
    fresh.extend(prompt);
    const bool equal = continue_with(fresh, candidate.token, 6) == tokens;
    all_equal = all_equal && equal && copied <= model.cache_stats().block_bytes;

    std::printf("%lld:", static_cast<long long>(candidate.token));
    for (const TokenId token : tokens) {
      std::printf(" %lld", static_cast<long long>(token));
    }
    std::printf("  (%llu bytes copied, %s)\n", static_cast<unsigned long long>(copied),
                equal ? "as from nothing" : "NOT AS FROM NOTHING");

    fork.rewind(prompt.size());  // back to the prefix; its later blocks are free again
  }
  std::printf("prefix still has %zu tokens\n", prefix.length());
  return all_equal ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: example_fork MODEL_DIR\n");
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (const kvcache::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
