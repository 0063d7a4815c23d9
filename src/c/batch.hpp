// Elements of a batch from C, and a handle for what each gives.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <vector>

#include "c/arguments.hpp"
#include "c/structs.hpp"

namespace kvcache::c {

[[noreturn]] void throw_batch_size(const Call& call, std::size_t size);
[[noreturn]] void throw_element_size(const Call& call, std::size_t index, std::size_t size,
                                     std::size_t first);

/// More than a run can have: each element is a sequence or a tree, with blocks of its own.
constexpr std::size_t kLargestBatch = std::size_t{1} << 20U;

/// A caller's elements as this version has them. They lie one behind the other by the struct_size
/// of the first, and each must have the same.
template <typename Struct>
std::vector<Struct> read_batch(const Call& call, const Struct* batch, std::size_t size) {
  std::vector<Struct> elements;
  if (size == 0) {
    return elements;
  }
  if (size > kLargestBatch) {
    throw_batch_size(call, size);
  }
  elements.reserve(size);
  const auto* at = reinterpret_cast<const std::byte*>(&call.needed(batch, "batch"));
  std::size_t first = 0;
  std::memcpy(&first, at, sizeof first);
  for (std::size_t i = 0; i < size; ++i, at += first) {
    std::size_t own = 0;
    std::memcpy(&own, at, sizeof own);
    if (own != first) {
      throw_element_size(call, i, own, first);
    }
    elements.push_back(read_struct(call, reinterpret_cast<const Struct*>(at), "batch", Struct{}));
  }
  return elements;
}

/// Where the handles of a batch's results go. They are made before the run, for nothing may fail
/// after it.
template <typename Handle>
class Results {
 public:
  Results(const Call& call, Handle** to, std::size_t size, const char* name) : to_(to) {
    if (size == 0) {
      return;
    }
    if (size > kLargestBatch) {
      throw_batch_size(call, size);
    }
    call.needed(to, name);
    for (std::size_t i = 0; i < size; ++i) {
      to[i] = nullptr;
    }
    handles_.reserve(size);
    for (std::size_t i = 0; i < size; ++i) {
      handles_.push_back(std::make_unique<Handle>());
    }
  }

  /// Puts each value into its handle and gives all of them to the caller.
  template <typename Value>
  void give(std::vector<Value>&& values, std::optional<Value> Handle::*member) noexcept {
    for (std::size_t i = 0; i < values.size(); ++i) {
      ((*handles_[i]).*member).emplace(std::move(values[i]));
      to_[i] = handles_[i].release();
    }
  }

 private:
  Handle** to_;
  std::vector<std::unique_ptr<Handle>> handles_;
};

}  // namespace kvcache::c
