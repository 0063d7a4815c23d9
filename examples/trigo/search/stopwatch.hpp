// Where a search's time goes.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <string_view>

namespace trigo {

/// The parts that a search is divided into.
enum class Part {
  rules,   // stones, legal moves, ends
  text,    // moves as text and tokens
  tree,    // choosing, adding and dropping nodes, backing values up
  policy,  // forks of the model's cache, questions and reading answers (kvcache::NeuralPolicy)
  model,   // the runs of the model, or a rollout
};

constexpr std::array<std::string_view, 5> kPartNames{"rules", "text", "tree", "policy", "model"};

/// Divides the time of one thread: what passed since the lap before goes to a part. A lap costs a
/// reading of the clock, about 25 ns.
class Stopwatch {
 public:
  using Clock = std::chrono::steady_clock;
  using Seconds = std::chrono::duration<double>;

  /// From here on; what passed before belongs to no part.
  void start() noexcept { last_ = Clock::now(); }

  void lap(Part part) noexcept {
    const Clock::time_point now = Clock::now();
    parts_[static_cast<std::size_t>(part)] += now - last_;
    last_ = now;
  }

  [[nodiscard]] Seconds of(Part part) const noexcept {
    return parts_[static_cast<std::size_t>(part)];
  }

  void add(const Stopwatch& other) noexcept {
    for (std::size_t i = 0; i < parts_.size(); ++i) {
      parts_[i] += other.parts_[i];
    }
  }

 private:
  Clock::time_point last_ = Clock::now();
  std::array<Clock::duration, kPartNames.size()> parts_{};
};

}  // namespace trigo
