// What a report shows of each mode of `kvcache bench`: a file per mode (sequence_parts.cpp, …).
#pragma once

#include <string>
#include <vector>

#include "base/checked_json.hpp"
#include "report/html/markup.hpp"

namespace kvcache::report::html {

/// The questions that a report answers, in this order.
enum class Topic { latency, speedup, start, memory, sequences, trees, roofline, baselines };

struct Part {
  Topic topic;
  std::string title;
  Markup content;
};

/// What the JSON of one measurement lacks is left out.
/// @throws Error invalid_argument where a field is not what it must be
std::vector<Part> parts_of(const JsonValue& bench);

// Of each mode.
std::vector<Part> sequence_parts(const JsonValue& bench);
std::vector<Part> recompute_parts(const JsonValue& bench);
std::vector<Part> fork_parts(const JsonValue& bench);
std::vector<Part> tree_parts(const JsonValue& bench);
std::vector<Part> batch_parts(const JsonValue& bench);
std::vector<Part> search_parts(const JsonValue& bench);
std::vector<Part> evaluator_parts(const JsonValue& bench);
std::vector<Part> window_parts(const JsonValue& bench);
std::vector<Part> start_parts(const JsonValue& bench);
std::vector<Part> save_parts(const JsonValue& bench);

/// Of a file of bench/peers: the other runtimes beside ours.
std::vector<Part> baseline_parts(const JsonValue& peers);

/// A drawing and the table of the same figures beside it.
Markup beside(const Markup& drawing, const Markup& table);

/// A name for a drawing that no other of the page has, from the place of its measurement.
std::string drawing_id(const JsonValue& bench, std::string_view name);

}  // namespace kvcache::report::html
