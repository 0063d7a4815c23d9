// What kvcache generate tells beside the text: how long it took, what it used, and all as JSON.
#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "kvcache/beam_search.hpp"
#include "kvcache/generate.hpp"
#include "kvcache/speculation.hpp"
#include "kvcache/stats.hpp"
#include "report/json.hpp"

namespace kvcache::cli {

/// Times of a generation: begins with the object, before the prompt is computed.
class Stopwatch {
 public:
  void token() noexcept;

  [[nodiscard]] std::size_t tokens() const noexcept { return tokens_; }
  /// Of all texts; 0 until there is one.
  [[nodiscard]] double seconds_to_first() const noexcept;
  [[nodiscard]] double seconds() const noexcept;
  /// After the first one of each of `texts`, which all come at once; nothing without another.
  [[nodiscard]] std::optional<double> tokens_per_second(std::size_t texts) const noexcept;

 private:
  using Clock = std::chrono::steady_clock;
  [[nodiscard]] double since_begin(Clock::time_point time) const noexcept;

  Clock::time_point begin_ = Clock::now();
  Clock::time_point first_ = begin_;
  Clock::time_point last_ = begin_;
  std::size_t tokens_ = 0;
};

/// What was generated and from what.
struct GenerationReport {
  std::size_t prompt_tokens = 0;
  std::uint64_t seed = 0;
  bool with_text = false;  // the texts were wanted, and not tokens alone
  std::vector<Generated> texts;
  std::vector<Beam> beams;                      // of a search instead
  std::optional<SpeculationStats> speculation;  // where tokens were guessed
  std::optional<double> constraint_seconds;     // where the text had to be something
  Stopwatch time;
  CacheStats cache;
};

/// "stop" or "length"; a text that its constraint ends stops.
std::string finish_reason_text(FinishReason reason);

/// Prints several texts, each with a line before it: they were complete at different times.
void print_texts(const GenerationReport& report);

/// One object: of a single text its fields, of several "samples" with the fields of each.
report::Json to_json(const GenerationReport& report);

/// A line for people.
std::string describe(const GenerationReport& report);

}  // namespace kvcache::cli
