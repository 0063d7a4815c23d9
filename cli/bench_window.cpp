// kvcache bench --mode window: a text longer than the context.

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "bench_mode.hpp"
#include "report/format.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kComparisons = 8;

struct WindowTimes {
  std::vector<double> decode_ms;  // of tokens that were appended as they are
  std::vector<double> slide_ms;   // of tokens that made the window slide
  double total_ms = 0;
};

}  // namespace

BenchReport bench_window(const Model& model, const BenchOptions& options) {
  BenchReport report;
  report.agreement = new_agreement(model);
  WindowOptions by_encoding = options.window;
  by_encoding.sliding = Sliding::encode_anew;  // whose logits are those of a plain forward
  WindowedSequence sequence(model, by_encoding);
  const WindowOptions& window = sequence.options();
  // Full at once, so that every token counted is one of an endless text.
  Logits logits = sequence.extend(prompt_of(window.size + window.stride, model));
  const std::size_t tokens = options.tokens.value_or(4 * window.stride);

  WindowTimes times;
  std::size_t peak_early = 0;
  for (std::size_t i = 0; i < tokens; ++i) {
    if (i % 256 == 0) {
      options.progress({fmt::format("token {} of {}", i, tokens), i, tokens});
    }
    const std::uint64_t slides = sequence.slides();
    TokenId next = logits.argmax();
    const double milliseconds = time_of([&] {
      logits = sequence.extend({&next, 1});
      next = logits.argmax();
    });
    const bool slid = sequence.slides() > slides;
    (slid ? times.slide_ms : times.decode_ms).push_back(milliseconds);
    times.total_ms += milliseconds;
    if (sequence.slides() == 2 && slid) {
      peak_early = model.cache_stats().bytes_peak;
    }
    if (i % std::max<std::size_t>(1, tokens / kComparisons) == 0 || i + 1 == tokens) {
      compare_with_uncached(model, sequence.context().tokens(), logits.last(), report.agreement);
    }
  }
  const std::size_t peak = model.cache_stats().bytes_peak;
  if (sequence.slides() > 2 && peak != peak_early) {
    report.broken.push_back(fmt::format("the cache grew from {} to {} bytes", peak_early, peak));
  }
  const double amortised = times.total_ms / static_cast<double>(tokens);
  report.json = {
      {"window", {{"size", window.size}, {"stride", window.stride}, {"sinks", window.sinks}}},
      {"tokens", tokens},
      {"slides", sequence.slides()},
      {"tokens_encoded_anew", sequence.tokens_encoded_anew()},
      {"amortised_ms_per_token", amortised},
      {"slide", report::times_to_json(times.slide_ms)},
      {"cache_bytes_peak", peak}};
  report::Table table(
      {fmt::format("Window of {} + {}, {} sinks", window.size, window.stride, window.sinks),
       "Measured"});
  table.add_row({"tokens, slides", fmt::format("{}, {}", tokens, sequence.slides())});
  table.add_row({"amortised per token", fmt::format("{:.2f} ms", amortised)});
  if (!times.decode_ms.empty()) {
    const double decode = report::median(times.decode_ms);
    report.json["decode"] = report::times_to_json(times.decode_ms);
    report.json["amortised_over_decode"] = amortised / decode;
    table.add_row({"token without slide, median", fmt::format("{:.2f} ms", decode)});
    table.add_row({"amortised over that", fmt::format("{:.2f}x", amortised / decode)});
  }
  table.add_row(
      {"token with slide, median", fmt::format("{:.2f} ms", report::median(times.slide_ms))});
  table.add_row({"tokens encoded anew per token",
                 fmt::format("{:.2f}", static_cast<double>(sequence.tokens_encoded_anew()) /
                                           static_cast<double>(tokens))});
  table.add_row({"cache at its peak", report::format_bytes(peak)});
  report.text = table.to_string();
  return report;
}

}  // namespace kvcache::cli
