// Whether config.json says what the graph's nodes saw: sizes and types that no input or output of
// the graph shows (contract.hpp checks those).
#pragma once

#include "model/config.hpp"
#include "ort/graph_facts.hpp"

namespace kvcache::ort {

/// @throws Error config_mismatch (naming the field)
void check_facts(const GraphFacts& facts, const model::Config& config);

}  // namespace kvcache::ort
