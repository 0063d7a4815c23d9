// What an Evaluator is asked.

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/logits_for.hpp"
#include "bindings/request_options.hpp"
#include "bindings/tokens.hpp"

namespace kvcache::python {
namespace {

RequestOptions to_options(std::string_view priority, std::optional<std::uint64_t> cache_key,
                          bool skip_cache, bool join, std::optional<std::size_t> at_length) {
  return {.priority = to_choice(kPriorities, "priority", priority),
          .cache_key = cache_key,
          .skip_cache = skip_cache,
          .join = join,
          .at_length = at_length};
}

std::optional<std::chrono::nanoseconds> to_timeout(std::optional<double> seconds) {
  return seconds ? std::optional(to_duration(*seconds, "timeout")) : std::nullopt;
}

#define KVCACHE_PY_REQUEST_OPTIONS                                                               \
  "priority: typing.Literal['low', 'normal', 'high'] = 'normal', timeout: float | None = None, " \
  "cache_key: int | None = None, skip_cache: bool = False, join: bool = True, "                  \
  "at_length: int | None = None"
#define KVCACHE_PY_REQUEST_DOC                                                                    \
  "    priority: which of the waiting requests are run first.\n"                                  \
  "    timeout: in seconds, from submission; the request fails with deadline_exceeded when its\n" \
  "        run has not begun by then.\n"                                                          \
  "    cache_key: the caller's hash of all that decides the answer, in 64 bits: an answer that\n" \
  "        is kept under it is returned without a run. Of no effect for extensions.\n"            \
  "    skip_cache: neither looks the answer up nor keeps it.\n"                                   \
  "    join: whether one computation may answer this request and others that ask the same.\n"     \
  "    at_length: the length the sequence must have when the request's turn comes, else\n"        \
  "        invalid_argument.\n\n"                                                                 \
  "Source: include/kvcache/evaluator_request.hpp, docs/EVALUATOR.md."

#define KVCACHE_PY_REQUEST_ARGS                                                                 \
  nb::kw_only(), "priority"_a = "normal", "timeout"_a = nb::none(), "cache_key"_a = nb::none(), \
                 "skip_cache"_a = false, "join"_a = true, "at_length"_a = nb::none()

}  // namespace

void bind_requests(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<ExtendObject>(module, "ExtendRequest",
                           "Appends tokens to a sequence: Sequence.extend().")
      .def(
          "__init__",
          [](ExtendObject* self, const SequenceObject& sequence, const nb::object& tokens,
             std::string_view logits_for, bool renew, std::string_view priority,
             std::optional<double> timeout, std::optional<std::uint64_t> cache_key, bool skip_cache,
             bool join, std::optional<std::size_t> at_length) {
            new (self)
                ExtendObject{{sequence.get(), to_tokens(tokens), to_logits_for(logits_for),
                              to_options(priority, cache_key, skip_cache, join, at_length), renew},
                             sequence.use(),
                             to_timeout(timeout)};
          },
          "sequence"_a, "tokens"_a, "logits_for"_a = "last", "renew"_a = false,
          KVCACHE_PY_REQUEST_ARGS,
          nb::sig("def __init__(self, sequence: Sequence, tokens: " KVCACHE_PY_TOKENS
                  ", logits_for: typing.Literal['last', 'all'] = 'last', renew: bool = False, "
                  "*, " KVCACHE_PY_REQUEST_OPTIONS ") -> None"),
          "Args:\n"
          "    renew: takes the sequence along to the newest model "
          "(Evaluator.swap_model).\n" KVCACHE_PY_REQUEST_DOC);

  nb::class_<EvaluateObject>(module, "EvaluateRequest",
                             "Evaluates a tree of continuations: Sequence.evaluate().")
      .def(
          "__init__",
          [](EvaluateObject* self, const SequenceObject& prefix, const nb::object& tokens,
             const nb::object& parents, const nb::object& nodes, std::string_view priority,
             std::optional<double> timeout, std::optional<std::uint64_t> cache_key, bool skip_cache,
             bool join, std::optional<std::size_t> at_length) {
            new (self)
                EvaluateObject{{prefix.get(), to_tree(tokens, parents), to_nodes(nodes),
                                to_options(priority, cache_key, skip_cache, join, at_length)},
                               prefix.use(),
                               to_timeout(timeout)};
          },
          "prefix"_a, "tokens"_a, "parents"_a, "nodes"_a = nb::tuple(), KVCACHE_PY_REQUEST_ARGS,
          nb::sig("def __init__(self, prefix: Sequence, tokens: " KVCACHE_PY_TOKENS
                  ", parents: " KVCACHE_PY_TOKENS ", nodes: " KVCACHE_PY_TOKENS
                  " = (), *, " KVCACHE_PY_REQUEST_OPTIONS ") -> None"),
          "Args:\n    nodes: whose logits are wanted; empty: of all; -1: those that follow the\n"
          "        prefix.\n" KVCACHE_PY_REQUEST_DOC);

  nb::class_<ScoreObject>(
      module, "ScoreRequest",
      "Asks how probable continuations of a prefix are. What several begin with\n"
      "is computed once.")
      .def(
          "__init__",
          [](ScoreObject* self, const SequenceObject& prefix, const nb::object& continuations,
             std::vector<std::string> outputs, std::string_view priority,
             std::optional<double> timeout, std::optional<std::uint64_t> cache_key, bool skip_cache,
             bool join, std::optional<std::size_t> at_length) {
            new (self) ScoreObject{
                {prefix.get(), to_token_lists(continuations, "continuations"), std::move(outputs),
                 to_options(priority, cache_key, skip_cache, join, at_length)},
                prefix.use(),
                to_timeout(timeout)};
          },
          "prefix"_a, "continuations"_a, "outputs"_a = nb::tuple(), KVCACHE_PY_REQUEST_ARGS,
          nb::sig("def __init__(self, prefix: Sequence, continuations: "
                  "collections.abc.Sequence[" KVCACHE_PY_TOKENS
                  "], outputs: collections.abc.Sequence[str] = (), *, " KVCACHE_PY_REQUEST_OPTIONS
                  ") -> None"),
          "Args:\n    continuations: each of one token at least; the prefix too.\n"
          "    outputs: names of ModelInfo.outputs wanted for the "
          "prefix.\n" KVCACHE_PY_REQUEST_DOC);
}

}  // namespace kvcache::python
