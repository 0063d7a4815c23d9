// Which tokens may follow: what a text has to be.

#include "kvcache/constraint.hpp"

#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/constraint_object.hpp"
#include "bindings/errors.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/tokens.hpp"

namespace kvcache::python {
namespace {

using MaskWords = nb::ndarray<nb::numpy, std::uint32_t, nb::ndim<1>, nb::c_contig>;

std::vector<TokenMask> masks_of(const nb::object& constraint, const nb::object& tokens,
                                const nb::object& parents) {
  const TokenTree tree = to_tree(tokens, parents);
  const std::unique_ptr<Constraint> state = to_constraint(constraint);
  const Unlocked released;
  return tree_masks(*state, tree);
}

std::pair<std::vector<TokenId>, std::vector<std::int32_t>> part_of(const nb::object& constraint,
                                                                   const nb::object& tokens,
                                                                   const nb::object& parents) {
  const TokenTree tree = to_tree(tokens, parents);
  const std::unique_ptr<Constraint> state = to_constraint(constraint);
  const Unlocked released;
  TokenTree part = allowed_part(*state, tree);
  return {std::move(part.tokens), std::move(part.parents)};
}

void bind_token_mask(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<TokenMask>(module, "TokenMask",
                        "A set of a vocabulary's tokens, a bit for each. One thread at a time\n"
                        "changes it.\n\n"
                        "Source: include/kvcache/constraint.hpp.")
      .def(nb::init<std::size_t>(), "vocab_size"_a = 0, "The empty set.")
      .def_prop_ro("vocab_size", &TokenMask::vocab_size)
      .def("allows", &TokenMask::allows, "token"_a,
           "Whether a token is in it; false for what is no token of the vocabulary.")
      .def("count", &TokenMask::count, "How many tokens are in it.")
      .def(
          "tokens",
          [](const TokenMask& mask, std::optional<std::size_t> most) {
            return mask.tokens(most.value_or(mask.vocab_size()));
          },
          "most"_a = nb::none(),
          "Its tokens in the order of ids, the first so many of them; None: all.")
      .def("allow", &TokenMask::allow, "token"_a, "Raises:\n    Error: token_out_of_range.")
      .def("forbid", &TokenMask::forbid, "token"_a)
      .def("forbid_all", &TokenMask::forbid_all)
      .def_prop_ro(
          "words",
          [](nb::handle self) {
            auto& mask = nb::cast<TokenMask&>(self);
            const auto words = mask.words();
            return nb::cast(MaskWords(words.data(), {words.size()}, self));
          },
          nb::sig("def words(self) -> numpy.typing.NDArray[numpy.uint32]"),
          "The set itself, which can be written to: token i is bit i % 32 of word i // 32; bits\n"
          "behind the last token mean nothing. uint32, [(vocab_size + 31) // 32].")
      .def("__repr__", [](const TokenMask& mask) {
        return fmt::format("TokenMask({} of {} tokens)", mask.count(), mask.vocab_size());
      });
}

}  // namespace

void bind_constraint(nb::module_& module) {
  using namespace nb::literals;
  bind_token_mask(module);
  nb::class_<ConstraintObject>(
      module, "LibraryConstraint",
      "A constraint that one_of() or a GrammarCompiler made: a kvcache.Constraint.")
      .def_prop_ro("vocab_size",
                   [](ConstraintObject& object) {
                     return object.read([](const Constraint& of) { return of.vocab_size(); });
                   })
      .def(
          "allow_next",
          [](ConstraintObject& object, TokenMask& mask) {
            object.read([&](const Constraint& of) {
              if (mask.vocab_size() != of.vocab_size()) {
                throw_error(ErrorCode::invalid_argument,
                            "the mask is of {} tokens, must be of the constraint's {}",
                            mask.vocab_size(), of.vocab_size());
              }
              of.allow_next(mask);
            });
          },
          "mask"_a, "As Constraint.allow_next.")
      .def(
          "may_end",
          [](ConstraintObject& object) {
            return object.read([](const Constraint& of) { return of.may_end(); });
          },
          "As Constraint.may_end.")
      .def(
          "accept",
          [](ConstraintObject& object, TokenId token) {
            return object.change([&](Constraint& of) { return of.accept(token); });
          },
          "token"_a, "As Constraint.accept.")
      .def(
          "rollback",
          [](ConstraintObject& object, std::size_t tokens) {
            object.change([&](Constraint& of) { of.rollback(tokens); });
          },
          "tokens"_a,
          "As Constraint.rollback.\n\n"
          "Raises:\n    Error: invalid_argument where fewer were accepted; nothing changes then.")
      .def(
          "fork",
          [](ConstraintObject& object) {
            return std::make_unique<ConstraintObject>(
                object.read([](const Constraint& of) { return of.fork(); }));
          },
          nb::sig("def fork(self) -> LibraryConstraint"), "As Constraint.fork.");

  module.def(
      "tree_masks", &masks_of, "constraint"_a, "tokens"_a, "parents"_a,
      nb::sig(
          "def tree_masks(constraint: kvcache._interfaces.Constraint, tokens: " KVCACHE_PY_TOKENS
          ", parents: " KVCACHE_PY_TOKENS ") -> list[TokenMask]"),
      "For each node of a tree (as Sequence.evaluate) that continues what the constraint has\n"
      "accepted: the tokens that may follow it. The set is empty where the text must end, and\n"
      "where the node or one before it is not allowed itself.\n\n"
      "Raises:\n    Error: invalid_argument where the parents are none, token_out_of_range.\n\n"
      "Source: include/kvcache/constraint.hpp, docs/CONSTRAINTS.md.");
  module.def(
      "allowed_part", &part_of, "constraint"_a, "tokens"_a, "parents"_a,
      nb::sig(
          "def allowed_part(constraint: kvcache._interfaces.Constraint, tokens: " KVCACHE_PY_TOKENS
          ", parents: " KVCACHE_PY_TOKENS ") -> tuple[list[int], list[int]]"),
      "The nodes of a tree that the constraint allows, in their order, as tokens and parents: a\n"
      "forbidden one goes with all that follows it.\n\n"
      "Raises:\n    Error: as tree_masks().");
}

}  // namespace kvcache::python
