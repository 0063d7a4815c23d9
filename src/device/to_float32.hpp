// Logits of any type as float32.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/cpu/widen_cpu.hpp"
#include "kvcache/types.hpp"

namespace kvcache::device {

/// `floats` becomes `count` values of `type`; memory that it has is used again.
inline void to_float32(DataType type, const std::byte* values, std::size_t count,
                       std::vector<float>& floats) {
  floats.resize(count);
  const auto length = static_cast<std::int64_t>(count);
  switch (type) {
    case DataType::float32:
      std::memcpy(floats.data(), values, count * sizeof(float));
      break;
    case DataType::float16:
      kernels::widen_cpu(reinterpret_cast<const Float16*>(values), length, floats.data());
      break;
    case DataType::bfloat16:
      kernels::widen_cpu(reinterpret_cast<const BFloat16*>(values), length, floats.data());
      break;
    case DataType::int8:
      break;  // of keys and values only
  }
}

}  // namespace kvcache::device
