// kvcache bench --mode fork: what a fork costs, and what it copies.

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "bench_mode.hpp"
#include "report/format.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kDefaultForked = 1000;
constexpr std::size_t kForksPerRound = 200;

struct Forks {
  std::vector<double> fork_us;
  std::uint64_t bytes_copied = 0;
  std::size_t bytes_allocated = 0;
};

/// Forks that live side by side.
Forks fork_often(const Model& model, const Sequence& parent) {
  const CacheStats before = model.cache_stats();
  std::vector<Sequence> forks;
  forks.reserve(kForksPerRound);
  Forks result;
  for (std::size_t i = 0; i < kForksPerRound; ++i) {
    result.fork_us.push_back(1e3 * time_of([&] { forks.push_back(parent.fork()); }));
  }
  const CacheStats after = model.cache_stats();
  result.bytes_copied = after.bytes_copied - before.bytes_copied;
  result.bytes_allocated = after.bytes_allocated - before.bytes_allocated;
  return result;
}

/// Extends a sequence by one token; returns the bytes that were copied for it.
std::uint64_t write_to(const Model& model, Sequence& sequence, TokenId token,
                       report::Agreement& agreement) {
  const std::uint64_t before = model.cache_stats().bytes_copied;
  const Logits logits = sequence.extend({&token, 1});
  const std::uint64_t copied = model.cache_stats().bytes_copied - before;
  compare_with_uncached(model, sequence.tokens(), logits.last(), agreement);
  return copied;
}

}  // namespace

BenchReport bench_fork(const Model& model, const BenchOptions& options) {
  const std::size_t positions = model.info().max_seq_len;
  const std::size_t length = options.prompt.value_or(std::min(kDefaultForked, positions - 1));
  check_positions(fmt::format("the tokens of --prompt {} and one more", length), length + 1, model);
  BenchReport report;
  report.agreement = new_agreement(model);

  Sequence parent = model.new_sequence();
  parent.extend(prompt_of(length, model));
  Forks all;
  for (std::size_t round = 0; round <= options.repeat; ++round) {
    options.progress(
        {fmt::format("round {} of {}", round, options.repeat), round, options.repeat + 1});
    const Forks forks = fork_often(model, parent);
    all.bytes_copied += forks.bytes_copied;
    all.bytes_allocated += forks.bytes_allocated;
    if (round > 0) {  // the first one warms up
      all.fork_us.insert(all.fork_us.end(), forks.fork_us.begin(), forks.fork_us.end());
    }
  }
  Sequence child = parent.fork();
  const std::uint64_t copied_by_child = write_to(model, child, 1, report.agreement);
  const std::uint64_t copied_by_parent = write_to(model, parent, 2, report.agreement);

  const std::size_t block_bytes = model.cache_stats().block_bytes;
  if (all.bytes_copied != 0 || all.bytes_allocated != 0) {
    report.broken.push_back(fmt::format("forks copied {} bytes and allocated {} bytes of cache",
                                        all.bytes_copied, all.bytes_allocated));
  }
  if (copied_by_child > block_bytes || copied_by_parent != 0) {
    report.broken.push_back(fmt::format("first writes copied {} and {} bytes, a block has {}",
                                        copied_by_child, copied_by_parent, block_bytes));
  }
  const report::Summary fork = report::summarize(all.fork_us);
  report.json = {{"prompt", length},
                 {"fork_us",
                  {{"count", fork.count},
                   {"min", fork.min},
                   {"median", fork.median},
                   {"p90", fork.p90},
                   {"max", fork.max},
                   {"samples", all.fork_us}}},
                 {"bytes_copied_by_forks", all.bytes_copied},
                 {"bytes_allocated_by_forks", all.bytes_allocated},
                 {"bytes_copied_by_first_write", copied_by_child},
                 {"block_bytes", block_bytes}};
  report::Table table({fmt::format("Fork of {} tokens", length), "Measured"});
  table.add_row({"median of " + std::to_string(fork.count), fmt::format("{:.2f} us", fork.median)});
  table.add_row({"p90", fmt::format("{:.2f} us", fork.p90)});
  table.add_row({"copied by forks", report::format_bytes(all.bytes_copied)});
  table.add_row({"copied by a fork's first write",
                 fmt::format("{} of a block's {}", report::format_bytes(copied_by_child),
                             report::format_bytes(block_bytes))});
  report.text = table.to_string();
  return report;
}

}  // namespace kvcache::cli
