// The models that an evaluator was given, one after the other.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "kvcache/model.hpp"

namespace kvcache::inference {
class Engine;
}

namespace kvcache::evaluator {

/// Numbers them from 1 on. Only the newest is kept alive: an older one lives as long as a sequence
/// of it, by which its requests name it.
class Versions {
 public:
  explicit Versions(const Model& model);

  /// Makes `model` the newest and returns its number; `model` is then the one before, whose end may
  /// take its time.
  /// @throws Error invalid_argument when it has another vocabulary or other outputs
  std::uint64_t exchange(Model& model);

  [[nodiscard]] const Model& newest() const noexcept { return newest_; }
  [[nodiscard]] std::uint64_t newest_number() const noexcept { return known_.back().number; }
  [[nodiscard]] std::shared_ptr<inference::Engine> newest_engine() const noexcept {
    return known_.back().engine.lock();
  }

  /// Nothing where it was never one of the models.
  [[nodiscard]] std::optional<std::uint64_t> find(
      const std::shared_ptr<inference::Engine>& engine) const noexcept;

 private:
  struct Known {
    std::weak_ptr<inference::Engine> engine;
    std::uint64_t number;
  };

  Model newest_;
  std::vector<Known> known_;  // of those that still exist, oldest first
};

}  // namespace kvcache::evaluator
