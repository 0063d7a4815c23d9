// How a text goes on, guessed.

#include "kvcache/speculation.hpp"

#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/drafter_object.hpp"
#include "bindings/errors.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/tokens.hpp"

namespace kvcache::python {
namespace {

std::pair<std::vector<TokenId>, std::vector<std::int32_t>> draft(DrafterObject& object,
                                                                 const nb::object& text,
                                                                 std::size_t most) {
  const std::vector<TokenId> tokens = to_tokens(text, "text");
  const Changing changing(*object.use, "drafter");
  const Unlocked released;
  TokenTree tree = object.drafter->draft(tokens, most);
  return {std::move(tree.tokens), std::move(tree.parents)};
}

}  // namespace

void bind_speculation(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<SpeculationStats>(module, "SpeculationStats",
                               "What guessing was worth: without it there is a run for each token.")
      .def_ro("runs", &SpeculationStats::runs, "Of the model, the prompt's not counted.")
      .def_ro("drafted", &SpeculationStats::drafted, "Nodes that were verified.")
      .def_ro("accepted", &SpeculationStats::accepted, "Nodes that became tokens of the text.")
      .def("__repr__", [](const SpeculationStats& stats) {
        return fmt::format("SpeculationStats(runs={}, drafted={}, accepted={})", stats.runs,
                           stats.drafted, stats.accepted);
      });

  nb::class_<DrafterObject>(module, "LibraryDrafter",
                            "A kvcache.Drafter of the library's. One thread at a time.\n\n"
                            "Source: include/kvcache/speculation.hpp, docs/SPECULATION.md.")
      .def("draft", &draft, "text"_a, "most"_a,
           nb::sig("def draft(self, text: " KVCACHE_PY_TOKENS
                   ", most: int) -> tuple[list[int], list[int]]"),
           "As Drafter.draft.\n\nRaises:\n    Error: of a DraftModel, as Sequence.extend.");
  nb::class_<PromptLookupObject, DrafterObject>(
      module, "PromptLookup",
      "Guesses that a text repeats itself: what followed the last tokens where they stood\n"
      "before.")
      .def(
          "__init__",
          [](PromptLookupObject* self, std::size_t longest, std::size_t shortest) {
            new (self) PromptLookupObject(std::make_shared<PromptLookup>(longest, shortest));
          },
          "longest"_a = 4, "shortest"_a = 2,
          "Looks for the `longest` last tokens, then for fewer, `shortest` at least.\n\n"
          "Raises:\n    Error: invalid_argument where they are not 1 <= shortest <= longest.");
  nb::class_<DraftModelObject, DrafterObject>(
      module, "DraftModel",
      "Guesses what a smaller model of the same vocabulary finds likeliest. Keeps the text in\n"
      "that model's cache.")
      .def(
          "__init__",
          [](DraftModelObject* self, const Model& model) {
            new (self) DraftModelObject(std::make_shared<DraftModel>(model));
          },
          "model"_a);
}

}  // namespace kvcache::python
