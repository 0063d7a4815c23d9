// What the nodes of a run are told to do, written down while they do it: for whoever can do the
// same in another way.
#pragma once

#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

namespace kvcache::plan {

/// Of this thread's runs from its construction to its end, in their order. ONNX Runtime calls a
/// run's nodes in the thread that started it.
///
/// Node: a variant of what nodes may be told; a std::monostate stands for all else.
template <typename Node>
class Recording {
 public:
  Recording() : before_(std::exchange(current_, this)) {}
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  ~Recording() { current_ = before_; }

  /// Called by every node with its arguments.
  template <typename Args>
  static void note(const Args& args) {
    if (current_ == nullptr) {
      return;
    }
    if constexpr (std::is_constructible_v<Node, std::in_place_type_t<Args>, Args>) {
      current_->nodes_.emplace_back(std::in_place_type<Args>, args);
    } else {
      current_->nodes_.emplace_back();
    }
  }

  [[nodiscard]] const std::vector<Node>& nodes() const noexcept { return nodes_; }

 private:
  // NOLINTNEXTLINE(readability-identifier-naming): a member, which a template hides from the check
  static inline thread_local Recording* current_ = nullptr;

  Recording* before_;
  std::vector<Node> nodes_;
};

}  // namespace kvcache::plan
