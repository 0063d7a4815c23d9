// kvcache bench --mode tree: many continuations of one prefix, evaluated as a tree, by a fork each,
// and from nothing.

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

constexpr std::size_t kDefaultPrefix = 200;
constexpr std::size_t kDefaultSiblings = 64;

// The points of the break-even curve.
constexpr std::size_t kCurvePrefixes[] = {16, 128, 512};
constexpr std::size_t kCurveDepths[] = {1, 2, 4};
constexpr std::size_t kCurveSiblings[] = {1, 2, 4, 8, 16, 32, 64};

/// `siblings` chains of `depth` tokens after one prefix.
struct Continuations {
  Continuations(const Model& model, std::size_t prefix_length, std::size_t siblings,
                std::size_t chain_length)
      : prefix(model.new_sequence()), depth(chain_length) {
    prefix.extend(prompt_of(prefix_length, model));
    tree.tokens = prompt_of(siblings * depth, model, 2);
    for (std::size_t node = 0; node < tree.tokens.size(); ++node) {
      tree.parents.push_back(node % depth == 0 ? -1 : static_cast<std::int32_t>(node) - 1);
    }
  }

  [[nodiscard]] std::size_t siblings() const { return tree.tokens.size() / depth; }
  [[nodiscard]] std::span<const TokenId> chain(std::size_t sibling) const {
    return std::span(tree.tokens).subspan(sibling * depth, depth);
  }
  /// The prefix and one chain.
  [[nodiscard]] std::vector<TokenId> text(std::size_t sibling) const {
    std::vector<TokenId> tokens(prefix.tokens().begin(), prefix.tokens().end());
    tokens.insert(tokens.end(), chain(sibling).begin(), chain(sibling).end());
    return tokens;
  }

  Sequence prefix;
  std::size_t depth;
  TokenTree tree;
};

/// The choices after every node, however they were computed.
using Choices = std::vector<TokenId>;

void add_choices(const Logits& logits, Choices& choices) {
  for (std::size_t row = 0; row < logits.rows(); ++row) {
    choices.push_back(logits.argmax(row));
  }
}

double tree_ms(const Continuations& continuations, Choices& choices) {
  return time_of(
      [&] { add_choices(continuations.prefix.evaluate(continuations.tree).logits(), choices); });
}

double forks_ms(const Continuations& continuations, Choices& choices) {
  return time_of([&] {
    for (std::size_t i = 0; i < continuations.siblings(); ++i) {
      Sequence fork = continuations.prefix.fork();
      add_choices(fork.extend(continuations.chain(i), LogitsFor::all), choices);
    }
  });
}

/// One continuation from nothing, the choice after its last token alone.
double fresh_ms(const Model& model, const std::vector<TokenId>& text) {
  return time_of([&] { static_cast<void>(model.forward_without_cache(text).argmax()); });
}

/// Every chain's last node against a forward without cache.
void check_agreement(const Model& model, const Continuations& continuations, BenchReport& report) {
  const TreeEvaluation evaluation = continuations.prefix.evaluate(continuations.tree);
  for (std::size_t i = 0; i < continuations.siblings(); ++i) {
    compare_with_uncached(model, continuations.text(i),
                          evaluation.logits().row((i + 1) * continuations.depth - 1),
                          report.agreement);
  }
}

struct Samples {
  std::vector<double> tree;
  std::vector<double> forks;
  std::vector<double> fresh;
};

report::Json to_json(const Continuations& continuations, const Samples& samples) {
  return {{"prefix", continuations.prefix.length()},
          {"siblings", continuations.siblings()},
          {"depth", continuations.depth},
          {"tree", report::times_to_json(samples.tree)},
          {"forks", report::times_to_json(samples.forks)},
          {"fresh", report::times_to_json(samples.fresh)},
          {"over_forks", ratio_to_json(ratios(samples.forks, samples.tree))},
          {"over_fresh", ratio_to_json(ratios(samples.fresh, samples.tree))}};
}

/// Every continuation of every way is computed.
void bench_siblings(const Model& model, const BenchOptions& options, const Continuations& work,
                    BenchReport& report) {
  options.progress({"comparing with forward_without_cache"});
  check_agreement(model, work, report);
  Samples samples;
  for (std::size_t round = 0; round < options.repeat; ++round) {
    options.progress(
        {fmt::format("round {} of {}", round + 1, options.repeat), round, options.repeat});
    Choices of_tree;
    Choices of_forks;
    samples.tree.push_back(tree_ms(work, of_tree));
    samples.forks.push_back(forks_ms(work, of_forks));
    double fresh = 0;
    for (std::size_t i = 0; i < work.siblings(); ++i) {
      fresh += fresh_ms(model, work.text(i));
    }
    samples.fresh.push_back(fresh);
  }
  report.json = to_json(work, samples);
  report::Table table(
      {fmt::format("{} continuations of {} tokens", work.siblings(), work.prefix.length()),
       "Median ms", "Tree is faster by"});
  const auto row = [&](const std::string& name, const std::vector<double>& times) {
    table.add_row({name, fmt::format("{:.1f}", report::median(times)),
                   format_ratio(ratios(times, samples.tree))});
  };
  row("one tree", samples.tree);
  row("a fork each", samples.forks);
  row("from nothing each", samples.fresh);
  report.text = table.to_string();
}

/// Where a tree pays, and where it does not. From nothing, one continuation is measured and
/// multiplied.
void bench_curve(const Model& model, const BenchOptions& options, BenchReport& report) {
  report::Table table({"Prefix", "Depth", "Siblings", "Tree ms", "Over forks", "Over fresh"});
  report.json = {{"curve", report::Json::array()}};
  constexpr std::size_t kPoints =
      std::size(kCurvePrefixes) * std::size(kCurveDepths) * std::size(kCurveSiblings);
  std::size_t point = 0;
  for (const std::size_t prefix : kCurvePrefixes) {
    for (const std::size_t depth : kCurveDepths) {
      for (const std::size_t siblings : kCurveSiblings) {
        ++point;
        if (prefix + depth > model.info().max_seq_len) {
          continue;
        }
        options.progress({fmt::format("prefix {}, depth {}, {} siblings", prefix, depth, siblings),
                          point - 1, kPoints});
        const Continuations work(model, prefix, siblings, depth);
        check_agreement(model, work, report);
        Samples samples;
        for (std::size_t round = 0; round < options.repeat; ++round) {
          Choices ignored;
          samples.tree.push_back(tree_ms(work, ignored));
          samples.forks.push_back(forks_ms(work, ignored));
          samples.fresh.push_back(fresh_ms(model, work.text(0)) * static_cast<double>(siblings));
        }
        report.json["curve"].push_back(to_json(work, samples));
        table.add_row(
            {std::to_string(prefix), std::to_string(depth), std::to_string(siblings),
             fmt::format("{:.1f}", report::median(samples.tree)),
             fmt::format("{:.2f}x", report::median(ratios(samples.forks, samples.tree))),
             fmt::format("{:.2f}x", report::median(ratios(samples.fresh, samples.tree)))});
      }
    }
  }
  report.text = table.to_string();
}

}  // namespace

BenchReport bench_tree(const Model& model, const BenchOptions& options) {
  BenchReport report;
  report.agreement = new_agreement(model);
  if (options.curve) {
    bench_curve(model, options, report);
    return report;
  }
  const std::size_t positions = model.info().max_seq_len;
  const std::size_t prefix = options.prompt.value_or(std::min(kDefaultPrefix, positions - 1));
  check_positions(fmt::format("the tokens of --prompt {} and one more", prefix), prefix + 1, model);
  const Continuations work(model, prefix, options.siblings.value_or(kDefaultSiblings), 1);
  bench_siblings(model, options, work, report);
  return report;
}

}  // namespace kvcache::cli
