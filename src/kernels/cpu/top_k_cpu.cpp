#include "kernels/cpu/top_k_cpu.hpp"

#include <algorithm>
#include <cstddef>
#include <limits>

#include "kernels/cpu/argmax_cpu.hpp"

namespace kvcache::kernels {
namespace {

constexpr std::size_t kLeastRoom = 64;  // between two cuts, so that a small k does not cut always

struct InOrder {
  const float* logits;
  bool operator()(std::int32_t a, std::int32_t b) const {
    return comes_before(logits[a], a, logits[b], b);
  }
};

/// Those that may be among the largest, and the logit below which none is.
class Chosen {
 public:
  Chosen(const float* logits, std::int64_t k, std::vector<std::int32_t>& indices)
      : logits_(logits), k_(static_cast<std::size_t>(k)), indices_(indices) {
    indices_.clear();
    make_room();
  }

  void offer(std::int32_t index) {
    if (logits_[index] < bound_) {  // false for NaN, which counts as larger than every number
      return;
    }
    if (indices_.size() == room_) {
      cut();
      make_room();  // more where many are equal
    }
    indices_.push_back(index);
  }

  /// Leaves the k largest and what equals the last of these.
  void cut() {
    if (indices_.size() <= k_) {
      return;
    }
    const auto last = indices_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
    std::nth_element(indices_.begin(), last, indices_.end(), InOrder{logits_});
    bound_ = logits_[*last];
    const auto smaller = [this, equal = bound_](std::int32_t index) {
      return comes_before(equal, 0, logits_[index], 0);
    };
    indices_.erase(std::remove_if(last + 1, indices_.end(), smaller), indices_.end());
  }

  void sort() { std::sort(indices_.begin(), indices_.end(), InOrder{logits_}); }

 private:
  void make_room() {
    room_ = 2 * std::max(k_, indices_.size()) + kLeastRoom;
    indices_.reserve(room_);
  }

  const float* logits_;
  std::size_t k_;
  std::vector<std::int32_t>& indices_;
  std::size_t room_ = 0;
  float bound_ = -std::numeric_limits<float>::infinity();
};

}  // namespace

void top_k_cpu(const float* logits, std::int64_t count, std::int64_t k,
               std::vector<std::int32_t>& chosen) {
  Chosen largest(logits, k, chosen);
  for (std::int64_t i = 0; i < count; ++i) {
    largest.offer(static_cast<std::int32_t>(i));
  }
  largest.cut();
  largest.sort();
}

}  // namespace kvcache::kernels
