// A model whose weights hold NaN.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache::test {

/// The float32 model of golden `plain`, with a row of its position table filled with NaN: text up
/// to there has logits, and what comes at that position and after it has none.
class NanModel {
 public:
  explicit NanModel(std::size_t position) {
    fs::copy(model_path("plain"), path(), fs::copy_options::recursive);
    const std::string row = position_row(position);
    const fs::path weights = path() / "gpt2_with_cache.onnx.data";
    std::string bytes = read(weights);
    const std::size_t at = bytes.find(row);
    if (at == std::string::npos) {
      throw std::runtime_error("the model has no such row of float32");
    }
    const std::vector<float> nans(row.size() / sizeof(float),
                                  std::numeric_limits<float>::quiet_NaN());
    std::memcpy(bytes.data() + at, nans.data(), row.size());
    std::ofstream(weights, std::ios::binary) << bytes;
  }

  [[nodiscard]] Model load(ModelOptions options = {}) const {
    options.verify_digests = false;
    return Model::load(path(), options);
  }

 private:
  [[nodiscard]] fs::path path() const { return directory_.path() / "model"; }

  static std::string read(const fs::path& file) {
    std::ifstream in(file, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }

  /// As it is in the checkpoint: 8 bytes of the header's size, the header, the tensors.
  static std::string position_row(std::size_t position) {
    const std::string file = read(goldens_directory() / "plain" / "model.safetensors");
    std::uint64_t header_size = 0;
    std::memcpy(&header_size, file.data(), sizeof(header_size));
    const auto header = nlohmann::json::parse(file.substr(sizeof(header_size), header_size));
    const auto& table = header.at("transformer.wpe.weight");
    const auto size = table.at("shape")[1].get<std::size_t>() * sizeof(float);
    const auto begin = table.at("data_offsets")[0].get<std::size_t>();
    return file.substr(sizeof(header_size) + header_size + begin + position * size, size);
  }

  TemporaryDirectory directory_;
};

}  // namespace kvcache::test
