// A model whose weights hold NaN.
#pragma once

#include <cstddef>

#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache::test {

/// The model of golden `plain`, with a row of its position table filled with NaN: text up
/// to there has logits, and what comes at that position and after it has none.
class NanModel {
 public:
  explicit NanModel(std::size_t position);

  [[nodiscard]] Model load(ModelOptions options = {}) const;

 private:
  [[nodiscard]] fs::path path() const { return directory_.path() / "model"; }

  TemporaryDirectory directory_;
};

}  // namespace kvcache::test
