// What Python's TreeEvaluation holds.
#pragma once

#include <memory>
#include <utility>

#include "bindings/errors.hpp"
#include "kvcache/tree.hpp"

namespace kvcache::python {

/// A tree's evaluation, shared with a commit that is under way in another thread. close() lets go
/// of it.
class TreeObject {
 public:
  explicit TreeObject(TreeEvaluation tree)
      : tree_(std::make_shared<const TreeEvaluation>(std::move(tree))) {}
  explicit TreeObject(std::shared_ptr<const TreeEvaluation> tree) : tree_(std::move(tree)) {}

  /// @throws Error invalid_argument when it is closed
  [[nodiscard]] const TreeEvaluation& get() const { return *share(); }
  [[nodiscard]] const std::shared_ptr<const TreeEvaluation>& share() const {
    if (tree_ == nullptr) {
      throw_error(ErrorCode::invalid_argument,
                  "the tree's evaluation is closed; evaluate the tree again");
    }
    return tree_;
  }
  [[nodiscard]] bool closed() const noexcept { return tree_ == nullptr; }
  void close() noexcept { tree_.reset(); }

 private:
  std::shared_ptr<const TreeEvaluation> tree_;
};

}  // namespace kvcache::python
