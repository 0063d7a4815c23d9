// Prints a hash of the bits of the logits of each of a fixed list of runs: what bench/
// compare_builds.py compares between two trees of this repository. Uses the public API alone.
//
//     logit_hashes MODEL THREADS

#include <xxhash.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <random>
#include <string>
#include <vector>

#include "kvcache/kvcache.hpp"

namespace {

using namespace kvcache;

void print(const std::string& run, const Logits& logits) {
  XXH3_state_t* const state = XXH3_createState();
  XXH3_64bits_reset(state);
  for (std::size_t row = 0; row < logits.rows(); ++row) {
    const auto values = logits.row(row);
    XXH3_64bits_update(state, values.data(), values.size_bytes());
  }
  std::printf("%s %016llx\n", run.c_str(),
              static_cast<unsigned long long>(XXH3_64bits_digest(state)));
  XXH3_freeState(state);
}

void run(const Model& model) {
  std::mt19937 random(1);
  const auto tokens = [&](std::size_t count) {
    std::vector<TokenId> ids(count);
    for (TokenId& id : ids) {
      id = static_cast<TokenId>(random() % model.info().vocab_size);
    }
    return ids;
  };
  const std::size_t room = model.info().max_seq_len;
  print("without a cache", model.forward_without_cache(tokens(room / 4), LogitsFor::all));
  Sequence sequence = model.new_sequence();
  print("prefill", sequence.extend(tokens(room / 4), LogitsFor::all));
  for (int step = 0; step < 6; ++step) {  // the later ones may be captured
    print("token " + std::to_string(step), sequence.extend(tokens(1)));
  }
  for (int step = 0; step < 4; ++step) {
    print("three tokens " + std::to_string(step), sequence.extend(tokens(3), LogitsFor::all));
  }
  for (int step = 0; step < 4; ++step) {
    print("tree " + std::to_string(step),
          sequence.evaluate({tokens(5), {-1, -1, 0, 2, 1}}).logits());
  }
  Sequence fork = sequence.fork();
  Sequence fresh = model.new_sequence();
  for (int step = 0; step < 3; ++step) {
    const auto one = tokens(1);
    const auto two = tokens(2);
    const auto three = tokens(3);
    const std::vector<Extension> batch{
        {&sequence, one}, {&fork, two, LogitsFor::all}, {&fresh, three}};
    const auto results = extend(batch);
    for (std::size_t row = 0; row < results.size(); ++row) {
      print("batch " + std::to_string(step) + " row " + std::to_string(row), results[row]);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: logit_hashes MODEL THREADS\n");
    return 2;
  }
  try {
    ModelOptions options;
    options.num_threads = std::atoi(argv[2]);
    run(Model::load(argv[1], options));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", argv[1], error.what());
    return 1;
  }
}
