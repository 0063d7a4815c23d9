// The figures of games as JSON and as text.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "game/read_json.hpp"
#include "kvcache/evaluator_metrics.hpp"
#include "selfplay/match.hpp"
#include "selfplay/self_play.hpp"

namespace trigo {

/// README.md says what the fields mean.
Json to_json(const SelfPlayResult& result);
std::string to_text(const SelfPlayResult& result);

Json to_json(const kvcache::EvaluatorMetrics& metrics);
std::string to_text(const kvcache::EvaluatorMetrics& metrics);

/// `first` and `second` are the players' names.
Json to_json(const MatchResult& result, const std::string& first, const std::string& second);
std::string to_text(const MatchResult& result, const std::string& first, const std::string& second);

/// Self-play by how many games were played at once: a table, in which everything is relative to the
/// first row.
std::string throughput_table(const std::vector<std::pair<std::size_t, SelfPlayResult>>& results);

}  // namespace trigo
