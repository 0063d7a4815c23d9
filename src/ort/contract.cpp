#include "ort/contract.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "base/throw_error.hpp"

namespace kvcache::ort {
namespace {

/// A free axis of any size, or a fixed one that config.json names.
struct Axis {
  const char* config_field = nullptr;  // null: must be free
  std::size_t size = 0;
  std::size_t scale_elements = 0;  // that come on top of it
};

/// An input or output as the contract wants it.
struct Expected {
  std::string name;
  ONNXTensorElementDataType type;
  std::vector<Axis> axes;
};

/// One found in the graph.
struct Found {
  std::string name;
  ONNXTensorElementDataType type;
  std::vector<std::int64_t> shape;  // −1: free
};

std::string type_name(ONNXTensorElementDataType type) {
  switch (type) {
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT:
      return "float32";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16:
      return "float16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16:
      return "bfloat16";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8:
      return "int8";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
      return "int64";
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
      return "int32";
    default:
      return fmt::format("ONNX type {}", static_cast<int>(type));
  }
}

Found describe(std::string name, const Ort::TypeInfo& info) {
  if (info.GetONNXType() != ONNX_TYPE_TENSOR) {
    return {std::move(name), ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, {}};
  }
  const auto tensor = info.GetTensorTypeAndShapeInfo();
  return {std::move(name), tensor.GetElementType(), tensor.GetShape()};
}

void check_one(const char* kind, const Expected& expected, const Found& found,
               const model::Config& config) {
  if (found.type != expected.type) {
    throw_error(ErrorCode::contract_violation, "{} {} has type {}, must be {} (docs/MODEL_FILE.md)",
                kind, expected.name, type_name(found.type), type_name(expected.type));
  }
  if (found.shape.size() != expected.axes.size()) {
    throw_error(ErrorCode::contract_violation,
                "{} {} has {} axes ([{}]), must have {} (docs/MODEL_FILE.md)", kind, expected.name,
                found.shape.size(), fmt::join(found.shape, ", "), expected.axes.size());
  }
  for (std::size_t i = 0; i < found.shape.size(); ++i) {
    const Axis& axis = expected.axes[i];
    if (axis.config_field == nullptr) {
      if (found.shape[i] != -1) {
        throw_error(ErrorCode::contract_violation,
                    "axis {} of {} {} is fixed to {}, must be dynamic (docs/MODEL_FILE.md)", i,
                    kind, expected.name, found.shape[i]);
      }
    } else if (const std::size_t size = axis.size + axis.scale_elements;
               found.shape[i] != static_cast<std::int64_t>(size)) {
      throw_error(
          ErrorCode::config_mismatch,
          "config.json of {} says {} {}, but axis {} of {} {} is {}, must be {}; export the model "
          "again",
          config.directory.string(), axis.config_field, axis.size, i, kind, expected.name,
          found.shape[i], size);
    }
  }
}

/// Checks that `found` begins with `expected`, in this order.
void check_all(const char* kind, const std::vector<Expected>& expected,
               const std::vector<Found>& found, const model::Config& config) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (i >= found.size()) {
      throw_error(ErrorCode::contract_violation, "{} {} is missing (docs/MODEL_FILE.md)", kind,
                  expected[i].name);
    }
    if (found[i].name != expected[i].name) {
      throw_error(ErrorCode::contract_violation,
                  "{} number {} is {}, must be {} (docs/MODEL_FILE.md)", kind, i, found[i].name,
                  expected[i].name);
    }
    check_one(kind, expected[i], found[i], config);
  }
  if (found.size() > expected.size()) {
    throw_error(ErrorCode::contract_violation,
                "{} {} is not part of the contract (docs/MODEL_FILE.md)", kind,
                found[expected.size()].name);
  }
}

std::vector<Expected> cache_tensors(const char* prefix, const ModelInfo& info) {
  const std::size_t scale_elements =
      info.kv_vector_bytes() / data_type_size(info.cache_dtype) - info.head_dim;
  std::vector<Expected> tensors;
  for (std::size_t layer = 0; layer < info.num_layers; ++layer) {
    for (const char* part : {"key", "value"}) {
      tensors.push_back({fmt::format("{}_{}_{}", prefix, part, layer),
                         element_type(info.cache_dtype),
                         {{},
                          {"num_kv_heads", info.num_kv_heads},
                          {},
                          {"head_dim", info.head_dim, scale_elements}}});
    }
  }
  return tensors;
}

struct OptionalInput {
  const char* name;
  ONNXTensorElementDataType type;
  std::size_t axes;  // all free
};

constexpr OptionalInput kOptionalInputs[]{
    {"block_table", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, 2},
    {"past_lengths", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, 1},
    {"append_positions", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, 1},
    {"row_offsets", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, 1},
    {"tree_parents", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, 1},
    {"logits_positions", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, 1}};

/// Overridable initializers have no promised order: sorts both sides by name.
void sort_by_name(auto& tensors) {
  std::sort(tensors.begin(), tensors.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
}

}  // namespace

bool is_optional_input(std::string_view name) noexcept {
  return std::ranges::find(kOptionalInputs, name, &OptionalInput::name) !=
         std::end(kOptionalInputs);
}

std::string past_key_name(std::size_t layer) { return fmt::format("past_key_{}", layer); }
std::string past_value_name(std::size_t layer) { return fmt::format("past_value_{}", layer); }
std::string present_key_name(std::size_t layer) { return fmt::format("present_key_{}", layer); }
std::string present_value_name(std::size_t layer) { return fmt::format("present_value_{}", layer); }

ONNXTensorElementDataType element_type(DataType type) noexcept {
  switch (type) {
    case DataType::float32:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case DataType::float16:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    case DataType::bfloat16:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16;
    case DataType::int8:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
  }
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

void check_contract(const Ort::Session& session, const model::Config& config) {
  const ModelInfo& info = config.info;
  const Ort::AllocatorWithDefaultOptions allocator;

  std::vector<Found> inputs;
  for (std::size_t i = 0; i < session.GetInputCount(); ++i) {
    inputs.push_back(
        describe(session.GetInputNameAllocated(i, allocator).get(), session.GetInputTypeInfo(i)));
  }
  std::vector<Found> optional_inputs;
  for (std::size_t i = 0; i < session.GetOverridableInitializerCount(); ++i) {
    optional_inputs.push_back(
        describe(session.GetOverridableInitializerNameAllocated(i, allocator).get(),
                 session.GetOverridableInitializerTypeInfo(i)));
  }
  std::vector<Found> outputs;
  for (std::size_t i = 0; i < session.GetOutputCount(); ++i) {
    outputs.push_back(
        describe(session.GetOutputNameAllocated(i, allocator).get(), session.GetOutputTypeInfo(i)));
  }

  const auto layers = static_cast<std::size_t>(std::ranges::count_if(
      inputs, [](const Found& input) { return input.name.starts_with("past_key_"); }));
  if (layers != info.num_layers) {
    throw_error(ErrorCode::config_mismatch,
                "config.json of {} says num_layers {}, but the graph has past_key inputs for {} "
                "layers; export the model again",
                config.directory.string(), info.num_layers, layers);
  }

  std::vector<Expected> expected_inputs{
      {"input_ids", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, {{}, {}}},
      {"position_ids", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, {{}, {}}}};
  std::ranges::copy(cache_tensors("past", info), std::back_inserter(expected_inputs));
  std::vector<Expected> expected_optional;
  for (const auto& [name, type, axes] : kOptionalInputs) {
    expected_optional.push_back({name, type, std::vector<Axis>(axes)});
  }
  std::vector<Expected> expected_outputs{
      {"logits", element_type(info.dtype), {{}, {}, {"vocab_size", info.vocab_size}}}};
  for (const OutputInfo& output : info.outputs) {
    expected_outputs.push_back(
        {output.name, element_type(info.dtype), {{}, {}, {"the size", output.size}}});
  }
  std::ranges::copy(cache_tensors("present", info), std::back_inserter(expected_outputs));

  check_all("input", expected_inputs, inputs, config);
  sort_by_name(expected_optional);
  sort_by_name(optional_inputs);
  check_all("optional input", expected_optional, optional_inputs, config);
  check_all("output", expected_outputs, outputs, config);
}

}  // namespace kvcache::ort
