// Computes tokens in shapes as random as a search's, millions of them, and watches the memory:
//
//     gpu_soak MODEL [MILLIONS [SEED]]
//
// Prompts, batches, trees, forks and rewinds of up to 64 sequences, and each million tokens the
// memory in use on the device (of all processes) and of this process, as JSON. What is kept for
// each shape is there after the first million tokens or soon; from half of the tokens on there
// must be no more of either. Exit status 1 where there is.
#include <cuda_runtime_api.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kvcache/kvcache.hpp"

namespace kvcache::bench {
namespace {

constexpr std::size_t kSequences = 64;
constexpr std::size_t kMostTokens = 900;     // of a sequence
constexpr std::size_t kAllowed = 4UL << 20;  // bytes more at the end than at half: an allocator's

std::size_t device_bytes() {
  std::size_t free = 0;
  std::size_t total = 0;
  if (cudaMemGetInfo(&free, &total) != cudaSuccess) {
    throw std::runtime_error("the device does not tell its memory");
  }
  return total - free;
}

std::size_t process_bytes() {
  std::ifstream file("/proc/self/statm");
  std::size_t all = 0;
  std::size_t resident = 0;
  file >> all >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

class Soak {
 public:
  Soak(const Model& model, std::uint64_t seed)
      : random_(seed), vocabulary_(model.info().vocab_size) {
    for (std::size_t i = 0; i < kSequences; ++i) {
      sequences_.push_back(model.new_sequence());
    }
  }

  /// One call of a random kind; how many tokens it computed.
  std::size_t step() {
    Sequence& one = sequences_[below(kSequences)];
    switch (below(8)) {
      case 0:
        return prompt(one);
      case 1:
        return tree(one);
      case 2:
        one = sequences_[below(kSequences)].fork();
        return 0;
      case 3:
        one.rewind(below(one.length() + 1));
        return 0;
      default:
        return batches();
    }
  }

 private:
  std::size_t below(std::size_t end) { return random_() % end; }

  std::vector<TokenId> tokens(std::size_t count) {
    std::vector<TokenId> made(count);
    std::ranges::generate(made, [&] { return static_cast<TokenId>(below(vocabulary_)); });
    return made;
  }

  static void make_room(Sequence& sequence, std::size_t tokens) {
    if (sequence.length() + tokens > kMostTokens) {
      sequence.rewind(kMostTokens / 8);
    }
  }

  std::size_t prompt(Sequence& sequence) {
    const std::size_t count = 1 + below(below(2) == 0 ? 16 : 512);
    make_room(sequence, count);
    (void)sequence.extend(tokens(count)).argmax();
    return count;
  }

  std::size_t tree(Sequence& sequence) {
    const std::size_t count = 1 + below(below(2) == 0 ? 12 : 100);
    make_room(sequence, count);
    TokenTree nodes{tokens(count), {}};
    for (std::size_t i = 0; i < count; ++i) {
      nodes.parents.push_back(static_cast<int>(below(i + 1)) - 1);
    }
    const auto found = sequence.evaluate(nodes);
    (void)found.logits().argmax(below(count));
    return count;
  }

  /// Some sequences, a token each, a few times.
  std::size_t batches() {
    const std::size_t rows = 1 + below(kSequences);
    const std::size_t times = 1 + below(32);
    const std::size_t first = below(kSequences);
    const std::vector<TokenId> next = tokens(rows);
    for (std::size_t time = 0; time < times; ++time) {
      std::vector<Extension> extensions;
      for (std::size_t row = 0; row < rows; ++row) {
        Sequence& sequence = sequences_[(first + row) % kSequences];
        make_room(sequence, 1);
        extensions.push_back({&sequence, std::span(&next[row], 1)});
      }
      (void)extend(extensions).front().argmax();
    }
    return rows * times;
  }

  std::mt19937_64 random_;
  std::size_t vocabulary_;
  std::vector<Sequence> sequences_;
};

int run(const std::string& path, double millions, std::uint64_t seed) {
  if (!(millions > 0)) {  // what computes nothing finds nothing
    throw std::invalid_argument("MILLIONS must be a number above 0");
  }
  ModelOptions options;
  options.require_device = Device::cuda;
  options.cache_bytes = std::size_t{8} << 30;
  const Model model = Model::load(path, options);
  Soak soak(model, seed);
  const auto start = std::chrono::steady_clock::now();
  const double wanted = millions * 1e6;
  nlohmann::json samples = nlohmann::json::array();
  std::size_t at_half[2] = {};
  std::size_t tokens = 0;
  std::size_t calls = 0;
  double next = 0;
  const auto sample = [&] {
    samples.push_back({{"tokens", tokens},
                       {"calls", calls},
                       {"device_bytes", device_bytes()},
                       {"process_bytes", process_bytes()}});
    std::cerr << samples.back() << "\n";
  };
  while (static_cast<double>(tokens) < wanted) {
    if (static_cast<double>(tokens) >= next) {
      sample();
      next += 1e6;
    }
    if (at_half[0] == 0 && static_cast<double>(tokens) >= wanted / 2) {
      at_half[0] = device_bytes();
      at_half[1] = process_bytes();
    }
    tokens += soak.step();
    ++calls;
  }
  sample();
  const std::size_t more_on_device = std::max(device_bytes(), at_half[0]) - at_half[0];
  const std::size_t more_in_process = std::max(process_bytes(), at_half[1]) - at_half[1];
  const bool grows = more_on_device > 0 || more_in_process > kAllowed;
  std::cout << nlohmann::json{{"model", path},
                              {"seed", seed},
                              {"tokens", tokens},
                              {"seconds", std::chrono::duration<double>(
                                              std::chrono::steady_clock::now() - start)
                                              .count()},
                              {"samples", samples},
                              {"more_than_at_half",
                               {{"device_bytes", more_on_device},
                                {"process_bytes", more_in_process}}},
                              {"grows", grows}}
                   .dump(1)
            << "\n";
  return grows ? 1 : 0;
}

}  // namespace
}  // namespace kvcache::bench

int main(int count, char** arguments) {
  if (count < 2 || count > 4) {
    std::cerr << "usage: gpu_soak MODEL [MILLIONS [SEED]]\n";
    return 2;
  }
  try {
    return kvcache::bench::run(arguments[1], count > 2 ? std::strtod(arguments[2], nullptr) : 10,
                               count > 3 ? std::strtoull(arguments[3], nullptr, 10) : 1);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
