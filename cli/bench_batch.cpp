// kvcache bench --mode batch: rows decoded together, of equal and of different lengths.

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <vector>

#include "bench_mode.hpp"
#include "program/exit_status.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kDefaultRows = 16;
constexpr std::size_t kDefaultTokensEach = 32;
constexpr std::size_t kDefaultDepth = 128;
constexpr std::size_t kWarmUpSteps = 3;  // a GPU records the third run of a shape

/// Sequences that take one token each in a step.
class Batch {
 public:
  Batch(const Model& model, const std::vector<std::size_t>& depths) {
    for (std::size_t row = 0; row < depths.size(); ++row) {
      sequences_.push_back(model.new_sequence());
      const auto seed = static_cast<std::uint32_t>(row + 1);
      next_.push_back(sequences_.back().extend(prompt_of(depths[row], model, seed)).argmax());
    }
  }

  /// Feeds every row's choice and chooses again.
  void step() {
    std::vector<Extension> batch;
    for (std::size_t row = 0; row < sequences_.size(); ++row) {
      batch.push_back({&sequences_[row], {&next_[row], 1}});
    }
    logits_ = extend(batch);
    for (std::size_t row = 0; row < sequences_.size(); ++row) {
      next_[row] = logits_[row].argmax();
    }
  }

  void check_agreement(const Model& model, report::Agreement& agreement) const {
    for (std::size_t row = 0; row < sequences_.size(); ++row) {
      compare_with_uncached(model, sequences_[row].tokens(), logits_[row].last(), agreement);
    }
  }

 private:
  std::vector<Sequence> sequences_;
  std::vector<TokenId> next_;
  std::vector<Logits> logits_;
};

/// One way of decoding: its rows' lengths, and tokens per second, all rows together, per round.
struct Way {
  std::string name;
  std::vector<std::size_t> depths;
  std::vector<double> tokens_per_second;
};

std::vector<std::size_t> equal_depths(std::size_t rows, std::size_t depth) {
  return std::vector<std::size_t>(rows, depth);
}

/// From half of `depth` to one and a half, as many tokens in all.
std::vector<std::size_t> ragged_depths(std::size_t rows, std::size_t depth) {
  std::vector<std::size_t> depths;
  for (std::size_t row = 0; row < rows; ++row) {
    depths.push_back(rows == 1 ? depth : depth / 2 + row * depth / (rows - 1));
  }
  return depths;
}

double tokens_per_second(const Model& model, const Way& way, std::size_t tokens,
                         report::Agreement* agreement) {
  Batch batch(model, way.depths);
  const double milliseconds = time_of([&] {
    for (std::size_t step = 0; step < tokens; ++step) {
      throw_if_interrupted();
      batch.step();
    }
  });
  if (agreement != nullptr) {
    batch.check_agreement(model, *agreement);
  }
  return static_cast<double>(way.depths.size() * tokens) * 1e3 / milliseconds;
}

/// So that no round has the runs in it that a device makes itself ready with.
void warm_up(const Model& model, const Way& way, std::size_t tokens) {
  Batch batch(model, way.depths);
  for (std::size_t step = 0; step < std::min(kWarmUpSteps, tokens); ++step) {
    throw_if_interrupted();
    batch.step();
  }
}

std::vector<Way> ways_of(std::size_t rows, std::size_t depth) {
  std::vector<Way> ways;
  for (std::size_t count = 1; count < rows; count *= 2) {
    ways.push_back({fmt::format("{} equal rows", count), equal_depths(count, depth), {}});
  }
  ways.push_back({fmt::format("{} equal rows", rows), equal_depths(rows, depth), {}});
  ways.push_back({fmt::format("{} ragged rows", rows), ragged_depths(rows, depth), {}});
  ways.front().name = "1 row";
  return ways;
}

}  // namespace

BenchReport bench_batch(const Model& model, const BenchOptions& options) {
  const std::size_t positions = model.info().max_seq_len;
  const std::size_t rows = options.rows.value_or(kDefaultRows);
  const std::size_t tokens = options.tokens.value_or(std::min(kDefaultTokensEach, positions / 4));
  if (options.depths.size() > 1) {
    throw UsageError("--depth: one value is needed with --mode batch");
  }
  const std::size_t depth =
      options.depths.empty() ? std::min(kDefaultDepth, positions / 4) : options.depths.front();
  const std::size_t longest = depth / 2 + depth + tokens;
  check_positions(fmt::format("rows of up to {} tokens (1.5 x --depth + --tokens)", longest),
                  longest, model);

  BenchReport report;
  report.agreement = new_agreement(model);
  std::vector<Way> ways = ways_of(rows, depth);
  options.progress({"warming up"});
  for (const Way& way : ways) {
    warm_up(model, way, tokens);
  }
  for (std::size_t round = 0; round < options.repeat; ++round) {
    options.progress(
        {fmt::format("round {} of {}", round + 1, options.repeat), round, options.repeat});
    for (Way& way : ways) {
      way.tokens_per_second.push_back(
          tokens_per_second(model, way, tokens, round == 0 ? &report.agreement : nullptr));
    }
  }

  const std::vector<double>& one = ways.front().tokens_per_second;
  const std::vector<double>& equal = ways[ways.size() - 2].tokens_per_second;
  report.json = {
      {"depth", depth},
      {"tokens_per_round", tokens},
      {"ways", report::Json::array()},
      {"ragged_over_equal", ratio_to_json(ratios(ways.back().tokens_per_second, equal))}};
  report::Table table({"Decoded together", "Tokens/s", "Over 1 row"});
  for (const Way& way : ways) {
    const std::vector<double> over_one = ratios(way.tokens_per_second, one);
    report.json["ways"].push_back({{"name", way.name},
                                   {"depths", way.depths},
                                   {"tokens_per_second", ratio_to_json(way.tokens_per_second)},
                                   {"over_one_row", ratio_to_json(over_one)}});
    table.add_row({way.name, fmt::format("{:.1f}", report::median(way.tokens_per_second)),
                   format_ratio(over_one)});
  }
  report.text = fmt::format("{}\nRagged over equal rows: {}\n", table.to_string(),
                            format_ratio(ratios(ways.back().tokens_per_second, equal)));
  return report;
}

}  // namespace kvcache::cli
