// What an Evaluator counts.

#include <nanobind/stl/map.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "kvcache/evaluator_metrics.hpp"

namespace kvcache::python {

void bind_metrics(nb::module_& module) {
  using Metrics = EvaluatorMetrics;
  nb::class_<Histogram>(
      module, "Histogram",
      "How often a value was at most bounds[i] and above the one before:\n"
      "counts[i]. The last count, one more than there are bounds, is of all above.")
      .def_ro("bounds", &Histogram::bounds)
      .def_ro("counts", &Histogram::counts)
      .def_ro("sum", &Histogram::sum)
      .def_ro("largest", &Histogram::largest)
      .def_prop_ro("count", &Histogram::count);

  nb::class_<ResultCacheStats>(module, "ResultCacheStats",
                               "What became of requests with a cache_key.")
      .def_ro("hits", &ResultCacheStats::hits)
      .def_ro("misses", &ResultCacheStats::misses)
      .def_ro("skipped", &ResultCacheStats::skipped, "Requests with a key and skip_cache.")
      .def_ro("evictions", &ResultCacheStats::evictions)
      .def_ro("entries", &ResultCacheStats::entries)
      .def_ro("bytes", &ResultCacheStats::bytes)
      .def_ro("max_bytes", &ResultCacheStats::max_bytes);

  nb::class_<Metrics>(
      module, "EvaluatorMetrics",
      "Since the evaluator began. A request is counted once among answered, failed,\n"
      "cancelled and expired when it ends.\n\n"
      "Source: include/kvcache/evaluator_metrics.hpp.")
      .def_ro("submitted", &Metrics::submitted)
      .def_ro("answered", &Metrics::answered)
      .def_ro("failed", &Metrics::failed, "With another error than the next two.")
      .def_ro("cancelled", &Metrics::cancelled)
      .def_ro("expired", &Metrics::expired, "With deadline_exceeded.")
      .def_ro("joined", &Metrics::joined, "Answered by another request's computation.")
      .def_ro("waiting", &Metrics::waiting, "Now.")
      .def_ro("running", &Metrics::running, "Now, in a run.")
      .def_ro("clients", &Metrics::clients, "Registered now.")
      .def_ro("version", &Metrics::version, "Of the newest model.")
      .def_ro("runs", &Metrics::runs)
      .def_ro("failed_runs", &Metrics::failed_runs, "Their rows were run again in two halves.")
      .def_ro("put_off", &Metrics::put_off, "Rows that found no cache block.")
      .def_ro("callbacks_failed", &Metrics::callbacks_failed)
      .def_ro("evaluations_per_second", &Metrics::evaluations_per_second,
              "Rows of runs in the last ten seconds.")
      .def_ro("queue_seconds", &Metrics::queue_seconds, "From submission until the run begins.")
      .def_ro("run_seconds", &Metrics::run_seconds)
      .def_ro("rows_per_run", &Metrics::rows_per_run)
      .def_ro("tokens_per_run", &Metrics::tokens_per_run)
      .def_ro("result_cache", &Metrics::result_cache);

  module.def(
      "prometheus_text",
      [](const Metrics& metrics, const std::map<std::string, std::string>& labels) {
        const std::vector<std::pair<std::string, std::string>> list(labels.begin(), labels.end());
        return prometheus_text(metrics, list);
      },
      nb::arg("metrics"), nb::arg("labels") = nb::dict(),
      "The metrics in the text format of Prometheus (version 0.0.4), each with these labels.\n\n"
      "Raises:\n    Error: invalid_argument when a label's name is none of Prometheus's.");
}

}  // namespace kvcache::python
