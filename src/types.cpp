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
  }
  return "unknown";
}

std::size_t data_type_size(DataType type) noexcept { return type == DataType::float32 ? 4 : 2; }

std::string_view device_name(Device device) noexcept {
  return device == Device::cpu ? "cpu" : "cuda";
}

std::size_t ModelInfo::cache_bytes_per_token() const noexcept {
  return 2 * num_layers * num_heads * head_dim * data_type_size(cache_dtype);
}

}  // namespace kvcache
