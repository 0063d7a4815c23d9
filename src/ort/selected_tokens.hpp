// The tokens whose logits are asked for, as the nodes get them.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "ort/tensor_access.hpp"

namespace kvcache::ort {

/// Positions of the sequence axis; null: all tokens.
struct SelectedTokens {
  const std::int64_t* positions = nullptr;
  std::int64_t count = 0;
};

/// Reads the input `logits_positions`.
/// @throws Ort::Exception where one lies outside the sequence
inline SelectedTokens selected_tokens(const Ort::ConstValue& input, std::int64_t seq_len,
                                      const std::string& node) {
  SelectedTokens selected{optional_data<std::int64_t>(input), 0};
  if (selected.positions != nullptr) {
    selected.count = shape_of(input)[0];
    check(std::all_of(selected.positions, selected.positions + selected.count,
                      [&](auto position) { return position >= 0 && position < seq_len; }),
          node, "logits_positions must lie in [0, seq_len)");
  }
  return selected;
}

}  // namespace kvcache::ort
