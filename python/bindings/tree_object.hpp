// What Python's TreeEvaluation holds.
#pragma once

#include <memory>
#include <utility>

#include "bindings/errors.hpp"
#include "bindings/slot.hpp"
#include "kvcache/tree.hpp"

namespace kvcache::python {

/// A tree's evaluation, shared with a commit that is under way in another thread. close() lets go
/// of it.
class TreeObject {
 public:
  explicit TreeObject(TreeEvaluation tree)
      : slot_(std::make_shared<const TreeEvaluation>(std::move(tree))) {}
  explicit TreeObject(std::shared_ptr<const TreeEvaluation> tree) : slot_(std::move(tree)) {}

  /// @throws Error invalid_argument when it is closed
  [[nodiscard]] std::shared_ptr<const TreeEvaluation> share() const {
    if (std::shared_ptr<const TreeEvaluation> tree = slot_.share()) {
      return tree;
    }
    throw_error(ErrorCode::invalid_argument,
                "the tree's evaluation is closed; evaluate the tree again");
  }
  void close() noexcept { slot_.take(); }

 private:
  Slot<const TreeEvaluation> slot_;
};

}  // namespace kvcache::python
