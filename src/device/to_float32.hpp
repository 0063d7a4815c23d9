// Logits of any type as float32.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <vector>

#include "base/float16.hpp"
#include "kvcache/types.hpp"

namespace kvcache::device {

/// `count` values of `type` as floats.
inline std::vector<float> to_float32(DataType type, const std::byte* values, std::size_t count) {
  std::vector<float> converted(count);
  const auto convert = [&]<typename T>(const T* from) {
    std::transform(from, from + count, converted.begin(),
                   [](T value) { return static_cast<float>(value); });
  };
  switch (type) {
    case DataType::float32: {
      const auto* floats = reinterpret_cast<const float*>(values);
      converted.assign(floats, floats + count);
      break;
    }
    case DataType::float16:
      convert(reinterpret_cast<const Float16*>(values));
      break;
    case DataType::bfloat16:
      convert(reinterpret_cast<const BFloat16*>(values));
      break;
    case DataType::int8:
      break;  // of keys and values only
  }
  return converted;
}

}  // namespace kvcache::device
