// One sequence of tokens and its share of the cache.

#include "kvcache/sequence.hpp"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/string_view.h>

#include <filesystem>

#include "bindings/bind.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/logits_for.hpp"
#include "bindings/sequence_object.hpp"
#include "bindings/tokens.hpp"
#include "bindings/tree_object.hpp"

namespace kvcache::python {
namespace {

Logits extend(SequenceObject& object, const nb::object& tokens, std::string_view logits_for) {
  const std::vector<TokenId> added = to_tokens(tokens);
  const LogitsFor which = to_logits_for(logits_for);
  return object.change([&](Sequence& sequence) {
    const Unlocked released;
    return sequence.extend(added, which);
  });
}

TreeObject evaluate(const SequenceObject& object, const nb::object& tokens,
                    const nb::object& parents, const nb::object& nodes) {
  const TokenTree tree = to_tree(tokens, parents);
  const std::vector<std::size_t> chosen = to_nodes(nodes);
  return object.read([&](const Sequence& sequence) {
    const Unlocked released;
    return TreeObject(sequence.evaluate(tree, chosen));
  });
}

void commit(SequenceObject& object, const TreeObject& tree, std::size_t node) {
  const std::shared_ptr<const TreeEvaluation> evaluation = tree.share();
  object.change([&](Sequence& sequence) {
    const Unlocked released;
    sequence.commit(*evaluation, node);
  });
}

nb::object tokens(const SequenceObject& object) {
  return object.read(
      [](const Sequence& sequence) { return nb::cast(to_array(sequence.tokens())); });
}

std::size_t length(const SequenceObject& object) {
  return object.read([](const Sequence& sequence) { return sequence.length(); });
}

std::string repr(const SequenceObject& object) {
  if (object.closed()) {
    return "Sequence(closed)";
  }
  try {
    return fmt::format("Sequence(length={})", length(object));
  } catch (const Error&) {
    return "Sequence(in use)";
  }
}

}  // namespace

void bind_sequence(nb::module_& module) {
  nb::class_<SequenceObject>(
      module, "Sequence",
      "Tokens whose keys and values are cached on the device. Extending it computes the new\n"
      "tokens only. Model.new_sequence() makes one; it keeps its model alive.\n\n"
      "Different sequences of one model may be used from different threads at the same time,\n"
      "also when they share blocks. A call that meets another one that changes this sequence\n"
      "raises Error invalid_argument. A call that fails leaves it as it was.\n\n"
      "Source: include/kvcache/sequence.hpp.")
      .def("extend", &extend, nb::arg("tokens"), nb::arg("logits_for") = "last",
           nb::sig("def extend(self, tokens: " KVCACHE_PY_TOKENS
                   ", logits_for: typing.Literal['last', 'all'] = 'last') -> Logits"),
           "Appends tokens and returns the logits of the last of them or of all,\n"
           "[1 or len(tokens), vocab_size].\n\n"
           "Raises:\n    Error: empty_input, token_out_of_range, context_full, cache_full,\n"
           "        out_of_memory, run_failed, logits_invalid.\n"
           "    TypeError: tokens are no whole numbers.")
      .def(
          "fork",
          [](const SequenceObject& object) {
            return object.read(
                [](const Sequence& sequence) { return SequenceObject(sequence.fork()); });
          },
          "The same tokens again, on the same cache blocks: no tensor is copied. The two are\n"
          "independent from here on.")
      .def(
          "rewind",
          [](SequenceObject& object, std::size_t length) {
            object.change([&](Sequence& sequence) { sequence.rewind(length); });
          },
          nb::arg("length"),
          "Forgets the tokens from `length` on and gives blocks back.\n\n"
          "Raises:\n    Error: invalid_argument when `length` is above the sequence's, or\n"
          "        can_rewind_to(length) is false.")
      .def(
          "can_rewind_to",
          [](const SequenceObject& object, std::size_t length) {
            return object.read(
                [&](const Sequence& sequence) { return sequence.can_rewind_to(length); });
          },
          nb::arg("length"))
      .def(
          "reset",
          [](SequenceObject& object) {
            object.change([](Sequence& sequence) { sequence.reset(); });
          },
          "Forgets all tokens and gives their blocks back.")
      .def("evaluate", &evaluate, nb::arg("tokens"), nb::arg("parents"),
           nb::arg("nodes") = nb::tuple(),
           nb::sig("def evaluate(self, tokens: " KVCACHE_PY_TOKENS ", parents: " KVCACHE_PY_TOKENS
                   ", nodes: " KVCACHE_PY_TOKENS " = ()) -> TreeEvaluation"),
           "Evaluates a tree of continuations in one run; the sequence stays as it is. Node i is\n"
           "tokens[i] after node parents[i], or after the sequence itself where that is -1.\n"
           "Parents come before their children.\n\n"
           "Args:\n"
           "    nodes: whose logits are returned, in this order; empty: of all. -1 asks for those\n"
           "        that follow the sequence itself; the tree may then be empty.\n\n"
           "Raises:\n    Error: empty_input, token_out_of_range, invalid_argument (a parent that "
           "is no\n"
           "        earlier node, a node that does not exist), context_full, cache_full,\n"
           "        out_of_memory, run_failed, logits_invalid.")
      .def("commit", &commit, nb::arg("evaluation"), nb::arg("node"),
           "Appends the path from the root to `node` of a tree that was evaluated on this\n"
           "sequence, or on one with the same tokens, by copying its keys and values: nothing is\n"
           "computed.\n\n"
           "Raises:\n    Error: invalid_argument when there is no such node, or the sequence is "
           "neither\n"
           "        the tree's prefix nor that and a part of the path; cache_full, out_of_memory.")
      .def(
          "save",
          [](const SequenceObject& object, const std::filesystem::path& path) {
            object.read([&](const Sequence& sequence) {
              const Unlocked released;
              sequence.save(path);
            });
          },
          nb::arg("path"), nb::sig("def save(self, path: str | os.PathLike[str]) -> None"),
          "Writes tokens, keys and values to a file, which is whole or not there.\n"
          "Model.load_sequence() reads it.\n\n"
          "Raises:\n    Error: state_not_saved.")
      .def_prop_ro("length", &length, "Number of cached tokens.")
      .def("__len__", &length)
      .def_prop_ro("tokens", &tokens,
                   nb::sig("def tokens(self) -> numpy.typing.NDArray[numpy.int64]"),
                   "The cached tokens, in order, int64, [length]: a copy.")
      .def_prop_ro(
          "first_cached",
          [](const SequenceObject& object) {
            return object.read([](const Sequence& sequence) { return sequence.first_cached(); });
          },
          "The first token whose keys and values are there in all layers: 0, unless they were\n"
          "given back (rewindable_tokens of Model.load).")
      .def(
          "fits",
          [](const SequenceObject& object, std::size_t count) {
            return object.read([&](const Sequence& sequence) { return sequence.fits(count); });
          },
          nb::arg("count"), "Whether the model has positions for `count` more tokens.")
      .def("close", &SequenceObject::close,
           "Gives the sequence's cache blocks back now. Other calls then raise Error\n"
           "invalid_argument.")
      .def_prop_ro("closed", &SequenceObject::closed)
      .def(
          "__enter__", [](const nb::object& self) { return self; },
          nb::sig("def __enter__(self) -> typing.Self"))
      .def(
          "__exit__", [](SequenceObject& object, const nb::args&) { object.close(); },
          nb::sig("def __exit__(self, *exception: object) -> None"))
      .def("__repr__", &repr);
}

}  // namespace kvcache::python
