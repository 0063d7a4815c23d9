#include "kvcache/types.hpp"

namespace kvcache {

std::string_view data_type_name(DataType type) noexcept {
  switch (type) {
    case DataType::float32:
      return "float32";
    case DataType::float16:
      return "float16";
    case DataType::bfloat16:
      return "bfloat16";
    case DataType::int8:
      return "int8";
  }
  return "unknown";
}

std::size_t data_type_size(DataType type) noexcept {
  switch (type) {
    case DataType::float32:
      return 4;
    case DataType::float16:
    case DataType::bfloat16:
      return 2;
    case DataType::int8:
      return 1;
  }
  return 0;
}

std::string_view device_name(Device device) noexcept {
  return device == Device::cpu ? "cpu" : "cuda";
}

std::size_t ModelInfo::kv_vector_bytes() const noexcept {
  constexpr std::size_t kScaleBytes = 2;  // a bfloat16, docs/MODEL_FILE.md
  return head_dim * data_type_size(cache_dtype) + (cache_dtype == DataType::int8 ? kScaleBytes : 0);
}

std::size_t ModelInfo::cache_bytes_per_token() const noexcept {
  return 2 * num_layers * num_kv_heads * kv_vector_bytes();
}

}  // namespace kvcache
