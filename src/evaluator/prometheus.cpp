// Metrics as text for Prometheus: its exposition format, version 0.0.4.
#include <fmt/format.h>

#include <iterator>
#include <string_view>

#include "base/throw_error.hpp"
#include "kvcache/evaluator_metrics.hpp"
#include "ort/error_boundary.hpp"

namespace kvcache {
namespace {

using LabelList = std::span<const std::pair<std::string, std::string>>;

bool is_label_name(std::string_view name) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  };
  if (name.empty() || !is_letter(name.front()) || name.starts_with("__") || name == "le") {
    return false;
  }
  for (const char c : name) {
    if (!is_letter(c) && (c < '0' || c > '9')) {
      return false;
    }
  }
  return true;
}

std::string escaped(std::string_view value) {
  std::string text;
  for (const char c : value) {
    if (c == '\\' || c == '"') {
      text += '\\';
    }
    text += c == '\n' ? std::string("\\n") : std::string(1, c);
  }
  return text;
}

std::string joined_labels(LabelList labels) {
  std::string text;
  for (const auto& [name, value] : labels) {
    if (!is_label_name(name)) {
      throw_error(
          ErrorCode::invalid_argument,
          "\"{}\" is no name of a Prometheus label: letters, digits and _ in ASCII, no digit "
          "first, neither \"le\" nor beginning with __",
          name);
    }
    text += fmt::format("{}{}=\"{}\"", text.empty() ? "" : ",", name, escaped(value));
  }
  return text;
}

/// Appends metrics, each with its two lines of description.
class Page {
 public:
  explicit Page(LabelList labels) : labels_(joined_labels(labels)) {}

  void counter(std::string_view name, std::string_view help, std::uint64_t value) {
    head(name, help, "counter");
    line(name, "", static_cast<double>(value));
  }

  void gauge(std::string_view name, std::string_view help, double value) {
    head(name, help, "gauge");
    line(name, "", value);
  }

  void histogram(std::string_view name, std::string_view help, const Histogram& histogram) {
    head(name, help, "histogram");
    std::uint64_t below = 0;
    for (std::size_t i = 0; i < histogram.counts.size(); ++i) {
      below += histogram.counts[i];
      const std::string bound =
          i < histogram.bounds.size() ? fmt::format("{}", histogram.bounds[i]) : "+Inf";
      line(fmt::format("{}_bucket", name), fmt::format("le=\"{}\"", bound),
           static_cast<double>(below));
    }
    line(fmt::format("{}_sum", name), "", histogram.sum);
    line(fmt::format("{}_count", name), "", static_cast<double>(below));
  }

  [[nodiscard]] std::string text() && { return std::move(text_); }

 private:
  void head(std::string_view name, std::string_view help, std::string_view type) {
    fmt::format_to(std::back_inserter(text_),
                   "# HELP kvcache_evaluator_{0} {1}\n# TYPE kvcache_evaluator_{0} {2}\n", name,
                   help, type);
  }

  void line(std::string_view name, std::string_view own_label, double value) {
    const std::string_view comma = labels_.empty() || own_label.empty() ? "" : ",";
    const bool any = !labels_.empty() || !own_label.empty();
    fmt::format_to(std::back_inserter(text_), "kvcache_evaluator_{}{}{}{}{}{} {}\n", name,
                   any ? "{" : "", labels_, comma, own_label, any ? "}" : "", value);
  }

  std::string labels_;
  std::string text_;
};

}  // namespace

std::string prometheus_text(const EvaluatorMetrics& metrics, LabelList labels) try {
  Page page(labels);
  page.counter("requests_total", "Requests submitted.", metrics.submitted);
  page.counter("answers_total", "Requests answered.", metrics.answered);
  page.counter("failures_total", "Requests that failed otherwise than by the next two.",
               metrics.failed);
  page.counter("cancelled_total", "Requests that were cancelled.", metrics.cancelled);
  page.counter("expired_total", "Requests whose deadline passed.", metrics.expired);
  page.counter("joined_total", "Requests answered by the computation of an equal one.",
               metrics.joined);
  page.gauge("waiting_requests", "Requests that wait.", static_cast<double>(metrics.waiting));
  page.gauge("running_requests", "Requests in a run.", static_cast<double>(metrics.running));
  page.gauge("clients", "Registered clients.", static_cast<double>(metrics.clients));
  page.gauge("model_version", "Version of the newest model.", static_cast<double>(metrics.version));
  page.counter("runs_total", "Runs of the model.", metrics.runs);
  page.counter("failed_runs_total", "Runs that failed, whose rows were run again in halves.",
               metrics.failed_runs);
  page.counter("put_off_total", "Rows that found no cache block and waited for the next run.",
               metrics.put_off);
  page.counter("callback_failures_total", "Callbacks that an exception left.",
               metrics.callbacks_failed);
  page.gauge("evaluations_per_second", "Rows of runs a second, over the last ten.",
             metrics.evaluations_per_second);
  page.histogram("queue_seconds", "Time from submission until the run began.",
                 metrics.queue_seconds);
  page.histogram("run_seconds", "Duration of a run.", metrics.run_seconds);
  page.histogram("rows_per_run", "Rows of a run.", metrics.rows_per_run);
  page.histogram("tokens_per_run", "Tokens of a run.", metrics.tokens_per_run);
  const ResultCacheStats& cache = metrics.result_cache;
  page.counter("result_cache_hits_total", "Answers returned from the result cache.", cache.hits);
  page.counter("result_cache_misses_total", "Keys that the result cache did not hold.",
               cache.misses);
  page.counter("result_cache_skipped_total", "Requests that passed the result cache by.",
               cache.skipped);
  page.counter("result_cache_evictions_total", "Answers forgotten for the bound in bytes.",
               cache.evictions);
  page.gauge("result_cache_entries", "Answers that are kept.", static_cast<double>(cache.entries));
  page.gauge("result_cache_bytes", "Bytes that these take.", static_cast<double>(cache.bytes));
  return std::move(page).text();
} catch (...) {
  rethrow_as_error({"the metrics were not written", ErrorCode::run_failed, ErrorCode::run_failed});
}

}  // namespace kvcache
