// A text of any length, of which the model sees a window.

#include "kvcache/windowed_sequence.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

#include <string>
#include <string_view>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/names.hpp"
#include "bindings/sequence_object.hpp"
#include "bindings/tokens.hpp"
#include "bindings/windowed_object.hpp"

namespace kvcache::python {
namespace {

constexpr Names<Sliding, 3> kSliding{{{"by_model", Sliding::by_model},
                                      {"keep", Sliding::keep},
                                      {"encode_anew", Sliding::encode_anew}}};

Logits extend_window(WindowedObject& object, const nb::object& tokens) {
  const std::vector<TokenId> added = to_tokens(tokens);
  return object.change([&](WindowedSequence& sequence) {
    const Unlocked released;
    return sequence.extend(added);
  });
}

template <auto figure>
auto figure_of(const WindowedObject& object) {
  return object.read([](const WindowedSequence& sequence) { return (sequence.*figure)(); });
}

}  // namespace

void bind_windowed_sequence(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<WindowOptions>(module, "WindowOptions", "How a text that outgrows the context is cut.")
      .def_ro("size", &WindowOptions::size, "So many tokens stay when the window slides.")
      .def_ro("stride", &WindowOptions::stride, "So many more fit before it slides again.")
      .def_ro("sinks", &WindowOptions::sinks, "Of those that stay, the text's first so many.")
      .def_prop_ro(
          "sliding",
          [](const WindowOptions& options) {
            return std::string(name_of(kSliding, options.sliding));
          },
          nb::sig("def sliding(self) -> typing.Literal['by_model', 'keep', 'encode_anew']"),
          "What becomes of keys and values that stay.");

  nb::class_<WindowedObject>(
      module, "WindowedSequence",
      "Appends tokens without end, in constant memory. Which tokens are kept depends on the\n"
      "length of the text alone, not on how it was split. Threads as Sequence.\n\n"
      "Source: include/kvcache/windowed_sequence.hpp, docs/WINDOW.md.")
      .def(
          "__init__",
          [](WindowedObject* self, const Model& model, std::size_t size, std::size_t stride,
             std::size_t sinks, std::string_view sliding) {
            new (self) WindowedObject(WindowedSequence(
                model, {size, stride, sinks, to_choice(kSliding, "sliding", sliding)}));
          },
          "model"_a, nb::kw_only(), "size"_a = 0, "stride"_a = 0, "sinks"_a = 0,
          "sliding"_a = "by_model",
          nb::sig("def __init__(self, model: Model, *, size: int = 0, stride: int = 0, sinks: int "
                  "= 0, sliding: typing.Literal['by_model', 'keep', 'encode_anew'] = 'by_model') "
                  "-> None"),
          "size + stride tokens fit; with the next one the window slides.\n\n"
          "Args:\n"
          "    size: in tokens; 0: an eighth of the model's positions; to encode anew, half.\n"
          "    stride: in tokens; 0: one block; to encode anew, the rest of the positions.\n"
          "    sinks: the first so many tokens stay; below size.\n"
          "    sliding: \"keep\" keys and values as they were computed, where the model's "
          "positions\n"
          "        are relative; \"encode_anew\" encodes their tokens again; \"by_model\" keeps "
          "where\n"
          "        that is possible.\n\n"
          "Raises:\n    Error: invalid_argument when size + stride exceeds the model's positions,\n"
          "        sinks are not below size, or keys and values cannot be kept.")
      .def("extend", &extend_window, "tokens"_a,
           nb::sig("def extend(self, tokens: " KVCACHE_PY_TOKENS ") -> Logits"),
           "Appends tokens and returns the logits of the last, [1, vocab_size].\n\n"
           "Raises:\n    Error: empty_input, token_out_of_range, cache_full, out_of_memory,\n"
           "        run_failed, logits_invalid. The text is then as it was.")
      .def_prop_ro("length", &figure_of<&WindowedSequence::length>,
                   "Number of tokens ever appended.")
      .def("__len__", &figure_of<&WindowedSequence::length>)
      .def_prop_ro(
          "context",
          [](const WindowedObject& object) {
            return object.read([](const WindowedSequence& sequence) {
              return SequenceObject(sequence.context().fork());
            });
          },
          nb::sig("def context(self) -> Sequence"),
          "What the model sees now: sinks, then the latest tokens. A fork, which goes its own "
          "way.\n"
          "One that slid and kept its keys and values cannot be saved or inserted into a\n"
          "PrefixCache.")
      .def_prop_ro("slides", &figure_of<&WindowedSequence::slides>, "Times the window slid.")
      .def_prop_ro("tokens_encoded_anew", &figure_of<&WindowedSequence::tokens_encoded_anew>,
                   "How many tokens that had been encoded before were encoded anew.")
      .def_prop_ro(
          "options",
          [](const WindowedObject& object) {
            return object.read([](const WindowedSequence& sequence) { return sequence.options(); });
          },
          nb::sig("def options(self) -> WindowOptions"),
          "The options with nothing left to default.")
      .def("close", &WindowedObject::close,
           "Gives its cache blocks back now. Other calls then raise Error invalid_argument.")
      .def_prop_ro("closed", &WindowedObject::closed)
      .def(
          "__enter__", [](const nb::object& self) { return self; },
          nb::sig("def __enter__(self) -> typing.Self"))
      .def(
          "__exit__", [](WindowedObject& object, const nb::args&) { object.close(); },
          nb::sig("def __exit__(self, *exception: object) -> None"));
}

}  // namespace kvcache::python
