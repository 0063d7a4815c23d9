// Many threads, one model: what they ask is gathered into runs.

#include "kvcache/evaluator.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>

#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "bindings/answers.hpp"
#include "bindings/bind.hpp"
#include "bindings/errors.hpp"
#include "bindings/evaluator_object.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/pending.hpp"
#include "bindings/request_options.hpp"
#include "bindings/together.hpp"

namespace kvcache::python {
namespace {

/// A client, and whether it is still registered.
struct ClientObject {
  Slot<EvaluatorClient> slot;

  [[nodiscard]] std::shared_ptr<EvaluatorClient> get() const {
    if (std::shared_ptr<EvaluatorClient> client = slot.share()) {
      return client;
    }
    throw_error(ErrorCode::invalid_argument,
                "the client is closed; register another with Evaluator.register_client()");
  }
};

template <typename Submits, typename Asked>
AnswerObject answer(const Submits& object, const Asked& asked) {
  auto submitter = object.get();
  const std::shared_ptr<Lease> lease = Lease::begin(asked.use, Asked::kChanges);
  auto got = [&] {
    const Unlocked released;
    const auto held = std::move(submitter);  // let go of without the lock
    auto answered = held->answer(asked.begin());
    lease->end();
    return answered;
  }();
  return to_answer(std::move(got));
}

template <typename Submits, typename Asked>
std::unique_ptr<SubmittedObject> submit(const Submits& object, const Asked& asked) {
  using Result = typename ResultOf<std::remove_cvref_t<decltype(asked.request)>>::Type;
  auto submitter = object.get();
  const auto pending = std::make_shared<Pending>(Lease::begin(asked.use, Asked::kChanges));
  const Unlocked released;
  const auto held = std::move(submitter);
  const Request<Result> request =
      held->submit(asked.begin(), [pending](const Request<Result>&) { pending->answered(); });
  pending->lease().watch([request] { return request.ready(); });
  return std::make_unique<SubmittedOf<Result>>(pending, request);
}

/// A request of any kind.
std::unique_ptr<AskedTogether> to_asked(nb::handle request) {
  if (const ExtendObject* asked = nullptr; nb::try_cast(request, asked) && asked != nullptr) {
    return std::make_unique<AskedTogetherOf<ExtendObject>>(*asked);
  }
  if (const EvaluateObject* asked = nullptr; nb::try_cast(request, asked) && asked != nullptr) {
    return std::make_unique<AskedTogetherOf<EvaluateObject>>(*asked);
  }
  if (const ScoreObject* asked = nullptr; nb::try_cast(request, asked) && asked != nullptr) {
    return std::make_unique<AskedTogetherOf<ScoreObject>>(*asked);
  }
  throw nb::type_error(fmt::format("a request must be an ExtendRequest, EvaluateRequest or "
                                   "ScoreRequest, not {}",
                                   nb::type_name(request.type()).c_str())
                           .c_str());
}

template <typename Submits>
nb::list answer_all(const Submits& object, const nb::iterable& requests, bool return_exceptions) {
  auto submitter = object.get();
  std::vector<std::unique_ptr<AskedTogether>> all;
  for (const nb::handle request : requests) {
    all.push_back(to_asked(request));
  }
  {
    const Unlocked released;
    const auto held = std::move(submitter);  // let go of without the lock
    answer_together(*held, all);
  }
  nb::list answers;
  for (const auto& asked : all) {
    try {
      answers.append(asked->answer());
    } catch (const Error& error) {
      if (!return_exceptions) {
        throw;
      }
      answers.append(to_python_error(error));
    }
  }
  return answers;
}

constexpr const char* kAnswerAllDoc =
    "The answers to several requests, in their order: for a thread that serves several games.\n"
    "They may be of any kinds, and of one sequence; it costs less than a thread for each of\n"
    "them, for the interpreter's lock is passed on once.\n\n"
    "Args:\n    return_exceptions: whether what went wrong with a request is an Error in its\n"
    "        place. Else the first such Error is raised, once all are answered.\n\n"
    "Raises:\n    Error: as answer(); invalid_argument when a sequence is in use by a direct "
    "call:\n"
    "        nothing is then asked.";
constexpr const char* kSubmitDoc =
    "Has a request answered in time. Its errors are raised by Request.result(), those of its\n"
    "arguments too.\n\n"
    "Raises:\n    Error: invalid_argument when the sequence is in use by a direct call or by a\n"
    "        generation; system_refused, out_of_memory.";
constexpr const char* kAnswerDoc =
    "submit(request).result(), but cheaper. Waits without the interpreter's lock.\n\n"
    "Raises:\n    Error: as the direct call does; cancelled, deadline_exceeded, queue_full;\n"
    "        invalid_argument when the sequence is in use by a direct call or by a generation.";

/// What evaluators and their clients can do.
template <typename Submits, typename Class>
void bind_submitter(Class& bound) {
  bound.def("submit", &submit<Submits, ExtendObject>, nb::arg("request"), kSubmitDoc)
      .def("submit", &submit<Submits, EvaluateObject>, nb::arg("request"))
      .def("submit", &submit<Submits, ScoreObject>, nb::arg("request"))
      .def("answer", &answer<Submits, ExtendObject>, nb::arg("request"), kAnswerDoc)
      .def("answer", &answer<Submits, EvaluateObject>, nb::arg("request"))
      .def("answer", &answer<Submits, ScoreObject>, nb::arg("request"))
      .def("answer_all", &answer_all<Submits>, nb::arg("requests"), nb::kw_only(),
           nb::arg("return_exceptions") = false,
           nb::sig("def answer_all(self, requests: collections.abc.Iterable[ExtendRequest | "
                   "EvaluateRequest | ScoreRequest], *, return_exceptions: bool = False) -> "
                   "list[Answer]"),
           kAnswerAllDoc)
      .def(
          "__enter__", [](const nb::object& self) { return self; },
          nb::sig("def __enter__(self) -> typing.Self"));
}

void bind_client(nb::module_& module) {
  nb::class_<ClientObject> bound(
      module, "EvaluatorClient",
      "One of those that a run waits for: usually a thread. Where all clients wait, a run begins\n"
      "at once, so a client that has nothing more to ask closes, or says idle().");
  bind_submitter<ClientObject>(bound);
  bound
      .def(
          "idle", [](const ClientObject& client) { client.get()->idle(); },
          "Says that nothing comes from this client until one of its requests is answered or it\n"
          "submits another: for those that await, or do something else.")
      .def(
          "close", [](ClientObject& client) { client.slot.take(); },
          "Is no client any more. Its requests are still answered.")
      .def(
          "__exit__", [](ClientObject& client, const nb::args&) { client.slot.take(); },
          nb::sig("def __exit__(self, *exception: object) -> None"));
}

}  // namespace

void bind_evaluator(nb::module_& module) {
  using namespace nb::literals;
  bind_client(module);
  nb::class_<EvaluatorObject> bound(
      module, "Evaluator",
      "Gathers the requests of any number of threads into runs of one model. Requests of one\n"
      "sequence are run in the order in which they were submitted; until they are answered,\n"
      "direct calls that would change it raise Error invalid_argument. What is wrong with a\n"
      "request fails that request alone.\n\n"
      "Source: include/kvcache/evaluator.hpp, docs/EVALUATOR.md.");
  bound.def(
      "__init__",
      [](EvaluatorObject* self, const Model& model, std::size_t max_rows, std::size_t max_tokens,
         double max_delay, std::uint64_t max_passed_by, std::size_t max_runs,
         std::size_t max_waiting, std::size_t result_cache_bytes) {
        const auto delay = std::chrono::duration_cast<std::chrono::microseconds>(
            to_duration(max_delay, "max_delay"));
        new (self) EvaluatorObject(model, {max_rows, max_tokens, delay, max_passed_by, max_runs,
                                           max_waiting, result_cache_bytes});
      },
      "model"_a, nb::kw_only(), "max_rows"_a = 64, "max_tokens"_a = 2048, "max_delay"_a = 200e-6,
      "max_passed_by"_a = 16, "max_runs"_a = 0, "max_waiting"_a = 0,
      "result_cache_bytes"_a = std::size_t{64} << 20,
      "Args:\n"
      "    max_rows: the most rows of one run: sequences that are extended, and trees.\n"
      "    max_tokens: the most tokens of one run. A request of more runs alone.\n"
      "    max_delay: how long a request waits for company, in seconds.\n"
      "    max_passed_by: runs that may pass a waiting request by.\n"
      "    max_runs: under way at a time; 0: three on a GPU, otherwise one.\n"
      "    max_waiting: unanswered requests there may be; more fail with queue_full. 0: any "
      "number.\n"
      "    result_cache_bytes: what answers kept under a cache_key may take; 0: none are kept.\n\n"
      "Raises:\n    Error: invalid_argument, system_refused, out_of_memory.");
  bind_submitter<EvaluatorObject>(bound);
  bound
      .def("register_client",
           [](const EvaluatorObject& object) {
             return ClientObject{
                 Slot(std::make_shared<EvaluatorClient>(object.get()->register_client()))};
           })
      .def(
          "new_sequence",
          [](const EvaluatorObject& object) {
            return SequenceObject(object.get()->new_sequence());
          },
          "An empty sequence of the newest model.")
      .def_prop_ro("model", [](const EvaluatorObject& object) { return object.get()->model(); })
      .def(
          "swap_model",
          [](const EvaluatorObject& object, const Model& model) {
            auto evaluator = object.get();
            const Unlocked released;
            return std::exchange(evaluator, nullptr)->swap_model(model);
          },
          "model"_a,
          "From now on this is the newest model; returns its version. Nothing waits.\n\n"
          "Raises:\n    Error: invalid_argument when it has another vocabulary or other outputs.")
      .def(
          "hits_of",
          [](const EvaluatorObject& object, std::uint64_t key) {
            return object.get()->hits_of(key);
          },
          "cache_key"_a,
          "How often the answer under a key of the newest version was returned again; None where\n"
          "none is kept.")
      .def("metrics", [](const EvaluatorObject& object) { return object.get()->metrics(); })
      .def("close", &EvaluatorObject::close,
           "Requests that wait end with `cancelled`, a run under way with its answers; returns "
           "when\n"
           "all callbacks have been called. Answers may be held on to.")
      .def(
          "__exit__", [](EvaluatorObject& object, const nb::args&) { object.close(); },
          nb::sig("def __exit__(self, *exception: object) -> None"));
  module.def("close_evaluators", &EvaluatorObject::close_all);
}

}  // namespace kvcache::python
