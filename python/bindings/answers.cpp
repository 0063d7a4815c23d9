// What an Evaluator answers, and requests that were submitted.

#include "bindings/answers.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <memory>
#include <optional>
#include <string>

#include "bindings/bind.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/request_options.hpp"
#include "bindings/values.hpp"

namespace kvcache::python {
namespace {

AnswerObject result(SubmittedObject& request, std::optional<double> timeout) {
  if (timeout) {
    const std::chrono::nanoseconds duration = to_duration(*timeout, "timeout");
    bool answered = false;
    {
      const Unlocked released;
      answered = request.wait_for(duration);
    }
    if (!answered) {
      PyErr_Format(PyExc_TimeoutError, "the request was not answered within %s seconds",
                   std::to_string(*timeout).c_str());
      throw nb::python_error();
    }
  }
  return request.get();
}

void bind_results(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<EvaluatedNodes>(module, "EvaluatedNodes",
                             "The logits of a tree's nodes, and what it takes to commit it.")
      .def_prop_ro("rows", &EvaluatedNodes::rows, "The tree's nodes, or those that were chosen.")
      .def("__len__", &EvaluatedNodes::rows)
      .def(
          "row",
          [](nb::handle self, std::size_t row) {
            return to_numpy_view(nb::cast<const EvaluatedNodes&>(self).row(row), self);
          },
          "row"_a, nb::sig("def row(self, row: int) -> numpy.typing.NDArray[numpy.float32]"),
          "One row as float32, [vocab_size]: a read-only view.\n\n"
          "Raises:\n    Error: invalid_argument when there is no such row.")
      .def(
          "output",
          [](nb::handle self, std::string_view name, std::size_t row) {
            return to_numpy_view(nb::cast<const EvaluatedNodes&>(self).output(name, row), self);
          },
          "name"_a, "row"_a,
          nb::sig("def output(self, name: str, row: int) -> numpy.typing.NDArray[numpy.float32]"),
          "As Logits.output().")
      .def_prop_ro(
          "tree",
          [](const EvaluatedNodes& nodes) {
            return nodes.tree() ? nb::cast(TreeObject(nodes.tree())) : nb::none();
          },
          nb::sig("def tree(self) -> TreeEvaluation | None"),
          "For Sequence.commit(); None in an answer of the result cache.");

  nb::class_<Scores>(module, "Scores", "How probable each continuation is.")
      .def("__len__", &Scores::size)
      .def(
          "tokens",
          [](nb::handle self, std::size_t continuation) {
            return to_numpy_view(nb::cast<const Scores&>(self).tokens(continuation), self);
          },
          "continuation"_a,
          nb::sig("def tokens(self, continuation: int) -> numpy.typing.NDArray[numpy.float32]"),
          "log p of each of the continuation's tokens, given all before it, [its tokens].\n\n"
          "Raises:\n    Error: invalid_argument when there is no such continuation.")
      .def("total", &Scores::total, "continuation"_a, "log p of the continuation: their sum.")
      .def(
          "output",
          [](nb::handle self, std::size_t i) {
            return to_numpy_view(nb::cast<const Scores&>(self).output(i), self);
          },
          "i"_a, nb::sig("def output(self, i: int) -> numpy.typing.NDArray[numpy.float32]"),
          "The vector of the i-th output asked for, for the last token of the prefix.");

  nb::class_<AnswerObject>(module, "Answer", "An answer, and where it is from.")
      .def_prop_ro(
          "result", [](const AnswerObject& answer) { return answer.result; },
          nb::sig("def result(self) -> typing.Any"),
          "Logits of an ExtendRequest, EvaluatedNodes of an EvaluateRequest, Scores of a\n"
          "ScoreRequest.")
      .def_ro("version", &AnswerObject::version,
              "Of the model that computed it: 1 of the evaluator's first, and so on.")
      .def_prop_ro(
          "by",
          [](const AnswerObject& answer) { return std::string(name_of(kAnsweredBy, answer.by)); },
          nb::sig("def by(self) -> typing.Literal['run', 'joined', 'result_cache']"),
          "Computed for this request, for an equal one, or kept under its cache_key.")
      .def_prop_ro(
          "waited",
          [](const AnswerObject& answer) {
            return std::chrono::duration<double>(answer.waited).count();
          },
          "From submission until its run began, or it was known, in seconds.");
}

}  // namespace

void bind_answers(nb::module_& module) {
  using namespace nb::literals;
  bind_results(module);
  nb::class_<SubmittedObject>(
      module, "Request",
      "A request that was submitted: a future, which asyncio can await. Letting go of it cancels\n"
      "nothing.\n\nSource: include/kvcache/evaluator_request.hpp, docs/EVALUATOR.md.")
      .def(
          "result", &result, "timeout"_a = nb::none(),
          "Waits for the answer, without the interpreter's lock.\n\n"
          "Args:\n    timeout: in seconds; None: as long as it takes.\n\n"
          "Raises:\n    Error: as the direct call does; cancelled, deadline_exceeded, queue_full.\n"
          "    TimeoutError: there is no answer yet.")
      .def("done", &SubmittedObject::ready, "Whether there is an answer or an error.")
      .def("cancel", &SubmittedObject::cancel,
           "Ends the request with `cancelled` unless its run has begun or it is answered; whether\n"
           "it did.")
      .def(
          "add_done_callback",
          [](nb::handle self, const nb::callable& callable) {
            nb::cast<SubmittedObject&>(self).pending().call_when_answered(callable,
                                                                          nb::borrow(self));
          },
          "callback"_a,
          nb::sig("def add_done_callback(self, callback: "
                  "collections.abc.Callable[[Request], object]) -> None"),
          "Has `callback` called with this request when it is answered, in a thread of the\n"
          "evaluator's; at once where it is. What it raises goes to sys.unraisablehook.")
      .def(
          "__await__",
          [](const nb::object& self) {
            return nb::module_::import_("kvcache._await").attr("answered")(self);
          },
          nb::sig("def __await__(self) -> collections.abc.Generator[typing.Any, None, Answer]"));
}

}  // namespace kvcache::python
