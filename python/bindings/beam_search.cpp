// The most probable texts that a search finds.

#include "kvcache/beam_search.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/vector.h>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/constraint_object.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/python_call.hpp"
#include "bindings/sequence_object.hpp"
#include "bindings/tokens.hpp"

namespace kvcache::python {
namespace {

std::vector<Beam> search_beams(SequenceObject& object, const nb::object& prompt,
                               std::size_t max_new_tokens, std::size_t beams, double length_penalty,
                               const nb::object& stop_tokens,
                               const std::optional<Tokenizer>& tokenizer,
                               const nb::object& constraint, const nb::object& go_on) {
  const std::vector<TokenId> tokens = to_tokens(prompt, "prompt");
  const std::unique_ptr<Constraint> state = to_constraint(constraint);
  if (!go_on.is_none() && PyCallable_Check(go_on.ptr()) == 0) {
    throw nb::type_error("go_on must be a callable that takes nothing, or None");
  }
  const BeamOptions options{.beams = beams,
                            .max_new_tokens = max_new_tokens,
                            .length_penalty = length_penalty,
                            .stop_tokens = to_tokens(stop_tokens, "stop_tokens"),
                            .tokenizer = tokenizer ? &*tokenizer : nullptr,
                            .constraint = state.get()};
  const auto asked = [&go_on] {
    check_signals();
    return go_on.is_none() || in_python([&] {
             const int truth = PyObject_IsTrue(go_on().ptr());
             if (truth < 0) {
               throw nb::python_error();
             }
             return truth != 0;
           });
  };
  return object.change([&](Sequence& sequence) {
    const Unlocked released;
    return beam_search(sequence, tokens, options, asked);
  });
}

}  // namespace

void bind_beam_search(nb::module_& module) {
  using namespace nb::literals;
  module.def(
      "beam_search", &search_beams, "sequence"_a, "prompt"_a = nb::tuple(), nb::kw_only(),
      "max_new_tokens"_a, "beams"_a = 4, "length_penalty"_a = 1.0, "stop_tokens"_a = nb::tuple(),
      "tokenizer"_a = nb::none(), "constraint"_a = nb::none(), "go_on"_a = nb::none(),
      nb::sig("def beam_search(sequence: Sequence, prompt: " KVCACHE_PY_TOKENS
              " = (), *, max_new_tokens: int, beams: int = 4, length_penalty: float = 1.0, "
              "stop_tokens: " KVCACHE_PY_TOKENS " = (), tokenizer: Tokenizer | None = None, "
              "constraint: kvcache._interfaces.Constraint | None = None, "
              "go_on: collections.abc.Callable[[], bool] | None = None) -> list[Beam]"),
      "Searches for the texts after a prompt with the largest scores: at each length the `beams`\n"
      "most probable texts go on, one token of all of them in one run. The sequence then ends\n"
      "with the prompt. Returns `beams` texts, the best first; fewer where a constraint leaves\n"
      "fewer.\n\n"
      "Args:\n"
      "    length_penalty: texts are compared by log-probability / length**length_penalty; 0: by\n"
      "        log-probability alone.\n"
      "    constraint: what texts have to be, as for generate().\n"
      "    go_on: is asked before each run; False ends the search with what there is.\n\n"
      "Raises:\n"
      "    Error: as generate(); no_token_allowed where a constraint ends all texts before one is\n"
      "        complete; invalid_argument for options outside their range. The sequence is then "
      "as\n"
      "        it was, also where `go_on` raises.\n\n"
      "Source: include/kvcache/beam_search.hpp, docs/SAMPLING.md.");
}

}  // namespace kvcache::python
