// Computes the same runs over and over and compares the bits of their logits:
//
//     gpu_same_bits MODEL [TIMES]
//
// Decoded tokens at several depths, batches, trees and prompts, as they are run once they are made
// ready: as one kernel, or as a recording. Kernels hand results over without barriers and copy
// weights to where others have just been read, so that what is wrong in it is wrong once in a while
// and right the next time. JSON says of each kind of run how many of its logits differed from the
// first time's. Exit status 1 where any did.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "gpu/random_runs.hpp"
#include "kvcache/kvcache.hpp"

namespace kvcache::bench {
namespace {

constexpr std::size_t kWarmUp = 6;  // runs until a shape is as it stays
constexpr std::size_t kRows = 3;    // of a run whose logits are compared

using Rows = std::vector<std::vector<float>>;

class SameBits {
 public:
  SameBits(const Model& model, std::size_t times) : model_(model), times_(times) {}

  void run() {
    for (const std::size_t depth : {8, 128, 512, 1000, 2000, 8000}) {
      step(depth);
    }
    for (const std::size_t rows : {2, 3, 4, 8, 16, 64}) {
      batch(rows, 128);
    }
    for (const std::size_t nodes : {4, 16, 64, 256}) {
      tree(nodes, 512);
    }
    for (const std::size_t tokens : {3, 16, 128, 512}) {
      prompt(tokens);
    }
  }

  [[nodiscard]] const nlohmann::json& found() const { return found_; }
  [[nodiscard]] bool all_same() const { return all_same_; }

 private:
  std::vector<TokenId> random_tokens(std::size_t count) {
    return bench::random_tokens(model_, random_, count);
  }

  Sequence sequence_of(std::size_t depth) { return random_sequence(model_, random_, depth); }

  /// The first row, the last one and one between.
  static Rows rows_of(const std::vector<const Logits*>& logits) {
    std::vector<std::pair<std::size_t, std::size_t>> all;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      for (std::size_t row = 0; row < logits[i]->rows(); ++row) {
        all.emplace_back(i, row);
      }
    }
    Rows rows;
    const std::size_t count = std::min(kRows, all.size());
    for (std::size_t i = 0; i < count; ++i) {
      const auto [which, row] = all[count == 1 ? 0 : i * (all.size() - 1) / (count - 1)];
      const std::span<const float> values = logits[which]->row(row);
      rows.emplace_back(values.begin(), values.end());
    }
    return rows;
  }

  void compare(const std::string& kind, std::size_t size, const std::function<Rows()>& once) {
    for (std::size_t i = 0; i < kWarmUp; ++i) {
      (void)once();
    }
    const Rows first = once();
    std::size_t different = 0;
    std::size_t failed = 0;
    double most = 0;
    std::string failure;
    for (std::size_t i = 0; i < times_; ++i) {
      try {
        const Rows rows = once();
        if (!have_same_bits(first, rows)) {
          ++different;
          most = std::max(most, largest_difference(first, rows));
        }
      } catch (const Error& error) {  // logits_invalid where there is NaN
        ++failed;
        failure = error.what();
      }
    }
    nlohmann::json result{{"kind", kind},     {"size", size},
                          {"times", times_},  {"different", different},
                          {"failed", failed}, {"largest_difference", most}};
    if (!failure.empty()) {
      result["failure"] = failure;
    }
    all_same_ = all_same_ && different == 0 && failed == 0;
    std::cerr << result << "\n";
    found_.push_back(std::move(result));
  }

  static bool have_same_bits(const Rows& first, const Rows& other) {
    return std::ranges::equal(first, other, [](const auto& a, const auto& b) {
      return std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
    });
  }

  static double largest_difference(const Rows& first, const Rows& other) {
    double largest = 0;
    for (std::size_t row = 0; row < first.size(); ++row) {
      for (std::size_t i = 0; i < first[row].size(); ++i) {
        const double difference = std::abs(double{first[row][i]} - other[row][i]);
        largest = std::max(largest, std::isnan(difference) ? INFINITY : difference);
      }
    }
    return largest;
  }

  void step(std::size_t depth) {
    if (depth + 1 > model_.info().max_seq_len) {
      return;
    }
    Sequence sequence = sequence_of(depth);
    const std::vector<TokenId> token = random_tokens(1);
    compare("step", depth, [&] {
      sequence.rewind(depth);
      const Logits logits = sequence.extend(token);
      return rows_of({&logits});
    });
  }

  void batch(std::size_t rows, std::size_t depth) {
    std::vector<Sequence> sequences;
    for (std::size_t row = 0; row < rows; ++row) {
      sequences.push_back(sequence_of(depth));
    }
    const std::vector<TokenId> tokens = random_tokens(rows);
    compare("batch", rows, [&] {
      std::vector<Extension> extensions;
      for (std::size_t row = 0; row < rows; ++row) {
        sequences[row].rewind(depth);
        extensions.push_back({&sequences[row], std::span(&tokens[row], 1)});
      }
      const std::vector<Logits> logits = extend(extensions);
      std::vector<const Logits*> all;
      for (const Logits& one : logits) {
        all.push_back(&one);
      }
      return rows_of(all);
    });
  }

  void tree(std::size_t nodes, std::size_t prefix) {
    const Sequence sequence = sequence_of(prefix);
    const TokenTree tree = random_tree(model_, random_, nodes);
    compare("tree", nodes, [&] {
      const TreeEvaluation evaluation = sequence.evaluate(tree);
      return rows_of({&evaluation.logits()});
    });
  }

  void prompt(std::size_t count) {
    const std::vector<TokenId> tokens = random_tokens(count);
    compare("prompt", count, [&] {
      Sequence sequence = model_.new_sequence();
      const Logits logits = sequence.extend(tokens);
      return rows_of({&logits});
    });
  }

  const Model& model_;
  std::size_t times_;
  std::mt19937_64 random_{7};
  nlohmann::json found_ = nlohmann::json::array();
  bool all_same_ = true;
};

int run(const char* path, std::size_t times) {
  ModelOptions options;
  options.require_device = Device::cuda;
  options.cache_bytes = std::size_t{8} << 30U;
  const Model model = Model::load(path, options);
  SameBits same(model, times);
  same.run();
  std::cout << nlohmann::json{{"model", path}, {"runs", same.found()}}.dump(1) << "\n";
  return same.all_same() ? 0 : 1;
}

}  // namespace
}  // namespace kvcache::bench

int main(int count, char** arguments) {
  const std::size_t times = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 2000;
  if (count < 2 || count > 3 || times == 0) {
    std::cerr << "usage: gpu_same_bits MODEL [TIMES]\n";
    return 2;
  }
  try {
    return kvcache::bench::run(arguments[1], times);
  } catch (const std::exception& error) {
    std::cerr << "error: " << error.what() << "\n";
    return 1;
  }
}
