// What Python's Sequence holds.
#pragma once

#include <string_view>

#include "bindings/closable.hpp"
#include "kvcache/sequence.hpp"

namespace kvcache::python {

struct SequenceNames {
  static constexpr std::string_view kName = "sequence";
  static constexpr std::string_view kAnother = "Model.new_sequence()";
};
using SequenceObject = Closable<Sequence, SequenceNames>;

}  // namespace kvcache::python
