#include "support/nan_model.hpp"

#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "base/float16.hpp"

namespace kvcache::test {
namespace {

std::string read(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

template <typename Narrow>
std::string narrowed(const std::string& floats) {
  std::vector<float> wide(floats.size() / sizeof(float));
  std::memcpy(wide.data(), floats.data(), floats.size());
  const std::vector<Narrow> narrow(wide.begin(), wide.end());
  std::string bytes(narrow.size() * sizeof(Narrow), '\0');
  std::memcpy(bytes.data(), narrow.data(), bytes.size());
  return bytes;
}

/// As it is in the model. In the checkpoint: 8 bytes of the header's size, the header, the
/// tensors.
std::string position_row(std::size_t position) {
  const std::string file = read(goldens_directory() / "plain" / "model.safetensors");
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, file.data(), sizeof(header_size));
  const auto header = nlohmann::json::parse(file.substr(sizeof(header_size), header_size));
  const auto& table = header.at("transformer.wpe.weight");
  const auto size = table.at("shape")[1].get<std::size_t>() * sizeof(float);
  const auto begin = table.at("data_offsets")[0].get<std::size_t>();
  const std::size_t at = sizeof(header_size) + header_size + begin + position * size;
  const std::string& dtype = models_dtype();
  return dtype == "float16"    ? narrowed<Float16>(file.substr(at, size))
         : dtype == "bfloat16" ? narrowed<BFloat16>(file.substr(at, size))
                               : file.substr(at, size);
}

}  // namespace

NanModel::NanModel(std::size_t position) {
  fs::copy(model_path("plain"), path(), fs::copy_options::recursive);
  const std::string row = position_row(position);
  const fs::path weights = path() / "gpt2_with_cache.onnx.data";
  std::string bytes = read(weights);
  const std::size_t at = bytes.find(row);
  if (at == std::string::npos) {
    throw std::runtime_error("the model has no such row of positions");
  }
  std::memset(bytes.data() + at, 0xFF, row.size());  // NaN in every type
  std::ofstream(weights, std::ios::binary) << bytes;
}

Model NanModel::load(ModelOptions options) const {
  options.verify_digests = false;
  return Model::load(path(), options);
}

}  // namespace kvcache::test
