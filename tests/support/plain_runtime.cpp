#include "support/plain_runtime.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>
#include <string>

#include "device/ort_environment.hpp"
#include "ort/contract.hpp"

namespace kvcache::test {
namespace {

/// A thread alone: others would cost more than a tiny model's token.
Ort::SessionOptions alone_in_its_thread() {
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  return options;
}

}  // namespace

PlainRuntime::PlainRuntime(const fs::path& model, const ModelInfo& info)
    : env_(device::ort_environment(false)),
      session_(*env_, graph_of(model).c_str(), alone_in_its_thread()),
      info_(info) {}

std::vector<float> PlainRuntime::logits(std::span<const TokenId> text) {
  std::vector<TokenId> tokens(text.begin(), text.end());
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  const auto seq_len = static_cast<std::int64_t>(tokens.size());
  const std::array<std::int64_t, 2> ids_shape{1, seq_len};
  std::vector<std::int64_t> positions(tokens.size());
  std::iota(positions.begin(), positions.end(), 0);
  const std::size_t row = info_.kv_vector_bytes() / data_type_size(info_.cache_dtype);
  const std::array<std::int64_t, 4> past_shape{1, static_cast<std::int64_t>(info_.num_kv_heads), 0,
                                               static_cast<std::int64_t>(row)};

  std::vector<std::string> names{"input_ids", "position_ids"};
  std::vector<Ort::Value> values;
  for (auto* data : {&tokens, &positions}) {
    values.push_back(Ort::Value::CreateTensor<std::int64_t>(memory, data->data(), data->size(),
                                                            ids_shape.data(), ids_shape.size()));
  }
  float nothing = 0;
  const ONNXTensorElementDataType cache_type = ort::element_type(info_.cache_dtype);
  for (std::size_t layer = 0; layer < info_.num_layers; ++layer) {
    for (const char* part : {"past_key_", "past_value_"}) {
      names.push_back(part + std::to_string(layer));
      values.push_back(Ort::Value::CreateTensor(memory, &nothing, 0, past_shape.data(),
                                                past_shape.size(), cache_type));
    }
  }
  std::vector<const char*> input_names;
  std::ranges::transform(names, std::back_inserter(input_names),
                         [](const std::string& name) { return name.c_str(); });
  const char* output_name = "logits";
  const std::vector<Ort::Value> outputs = session_.Run(
      Ort::RunOptions(), input_names.data(), values.data(), values.size(), &output_name, 1);
  const auto* logits = outputs[0].GetTensorData<float>();
  return {logits, logits + outputs[0].GetTensorTypeAndShapeInfo().GetElementCount()};
}

}  // namespace kvcache::test
