// Which logits a call returns, by name.
#pragma once

#include "bindings/names.hpp"
#include "kvcache/logits.hpp"

namespace kvcache::python {

inline constexpr Names<LogitsFor, 2> kLogitsFor{
    {{"last", LogitsFor::last}, {"all", LogitsFor::all}}};

inline LogitsFor to_logits_for(std::string_view name) {
  return to_choice(kLogitsFor, "logits_for", name);
}

}  // namespace kvcache::python
