// Whether a graph is the one that docs/MODEL_FILE.md describes.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <string>
#include <string_view>

#include "model/config.hpp"

namespace kvcache::ort {

/// Checks names, order, element types and shapes of all inputs and outputs, and that config.json
/// tells the same sizes.
///
/// @throws Error contract_violation (naming the input or output), config_mismatch (naming the
/// field)
void check_contract(const Ort::Session& session, const model::Config& config);

/// Whether the contract has an optional input of this name: one that has an initializer, too.
bool is_optional_input(std::string_view name) noexcept;

/// The names of layer i's tensors.
std::string past_key_name(std::size_t layer);
std::string past_value_name(std::size_t layer);
std::string present_key_name(std::size_t layer);
std::string present_value_name(std::size_t layer);

/// `type` in ONNX Runtime's terms.
ONNXTensorElementDataType element_type(DataType type) noexcept;

}  // namespace kvcache::ort
