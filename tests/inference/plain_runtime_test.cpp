// The oracle: the same model file in plain ONNX Runtime, nothing of ours registered.
#include <gtest/gtest.h>
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "device/ort_environment.hpp"
#include "ort/contract.hpp"
#include "support/models.hpp"

namespace kvcache {
namespace {

std::vector<float> plain_logits(const test::fs::path& graph, const ModelInfo& info,
                                std::vector<TokenId> tokens) {
  const auto env = device::ort_environment(false);
  Ort::Session session(*env, graph.c_str(), Ort::SessionOptions());
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  const auto seq_len = static_cast<std::int64_t>(tokens.size());
  const std::array<std::int64_t, 2> ids_shape{1, seq_len};
  std::vector<std::int64_t> positions(tokens.size());
  std::iota(positions.begin(), positions.end(), 0);
  const std::size_t row = info.kv_vector_bytes() / data_type_size(info.cache_dtype);
  const std::array<std::int64_t, 4> past_shape{1, static_cast<std::int64_t>(info.num_kv_heads), 0,
                                               static_cast<std::int64_t>(row)};

  std::vector<std::string> names{"input_ids", "position_ids"};
  std::vector<Ort::Value> values;
  for (auto* data : {&tokens, &positions}) {
    values.push_back(Ort::Value::CreateTensor<std::int64_t>(memory, data->data(), data->size(),
                                                            ids_shape.data(), ids_shape.size()));
  }
  float nothing = 0;
  const ONNXTensorElementDataType cache_type = ort::element_type(info.cache_dtype);
  for (std::size_t layer = 0; layer < info.num_layers; ++layer) {
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
  const std::vector<Ort::Value> outputs = session.Run(
      Ort::RunOptions(), input_names.data(), values.data(), values.size(), &output_name, 1);
  const auto* logits = outputs[0].GetTensorData<float>();
  return {logits, logits + outputs[0].GetTensorTypeAndShapeInfo().GetElementCount()};
}

TEST(PlainRuntime, RunsTheSameFileToTheSameLogits) {
  if (test::models_dtype() != "float32") {
    GTEST_SKIP() << "plain ONNX Runtime is compared in float32";
  }
  for (const std::string& name : test::golden_names()) {
    SCOPED_TRACE(name);
    const Model model = Model::load(test::model_path(name));
    test::for_random_cases(3, [&](test::Random& random) {
      const std::vector<TokenId> tokens = test::random_tokens(random, model.info(), 30);
      const std::vector<float> expected =
          plain_logits(test::graph_of(test::model_path(name)), model.info(), tokens);
      Sequence sequence = model.new_sequence();
      const Logits logits = sequence.extend(tokens, LogitsFor::all);
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        test::expect_close(logits.row(i), std::span(expected).subspan(i * logits.vocab_size(),
                                                                      logits.vocab_size()));
      }
    });
  }
}

}  // namespace
}  // namespace kvcache
