// C++'s enumerations as kvcache.h numbers them.
#pragma once

#include "kvcache.h"
#include "kvcache/types.hpp"

namespace kvcache::c {

constexpr kvcache_data_type to_number(DataType type) noexcept {
  switch (type) {
    case DataType::float32:
      return KVCACHE_DATA_TYPE_FLOAT32;
    case DataType::float16:
      return KVCACHE_DATA_TYPE_FLOAT16;
    case DataType::bfloat16:
      return KVCACHE_DATA_TYPE_BFLOAT16;
    case DataType::int8:
      return KVCACHE_DATA_TYPE_INT8;
  }
  return -1;
}

constexpr kvcache_device to_number(Device device) noexcept {
  switch (device) {
    case Device::cpu:
      return KVCACHE_DEVICE_CPU;
    case Device::cuda:
      return KVCACHE_DEVICE_CUDA;
  }
  return -1;
}

}  // namespace kvcache::c
