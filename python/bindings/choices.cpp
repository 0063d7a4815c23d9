// A text that has to be one of a list.

#include "kvcache/choices.hpp"

#include <nanobind/stl/string.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <string>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/constraint_object.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/tokens.hpp"

namespace kvcache::python {
namespace {

std::unique_ptr<ConstraintObject> one_of_texts(const std::vector<std::string>& choices,
                                               const TokenBytes& tokens) {
  const Unlocked released;
  return std::make_unique<ConstraintObject>(one_of(choices, tokens));
}

std::unique_ptr<ConstraintObject> one_of_moves(const nb::object& choices, std::size_t vocab_size) {
  const std::vector<std::vector<TokenId>> lists = to_token_lists(choices, "choices");
  const Unlocked released;
  return std::make_unique<ConstraintObject>(one_of(lists, vocab_size));
}

std::vector<std::string> to_byte_strings(const nb::iterable& list) {
  std::vector<std::string> strings;
  for (const nb::handle item : list) {
    const auto bytes = nb::cast<nb::bytes>(item);
    strings.emplace_back(bytes.c_str(), bytes.size());
  }
  return strings;
}

}  // namespace

void bind_choices(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<TokenBytes>(
      module, "TokenBytes",
      "What each token of a vocabulary adds to a text, in bytes. Made once for a tokenizer; any\n"
      "number of threads may use it.\n\n"
      "Source: include/kvcache/choices.hpp, docs/CONSTRAINTS.md.")
      .def(
          "__init__",
          [](TokenBytes* self, const Tokenizer& tokenizer, std::size_t vocab_size,
             const nb::object& stop_tokens) {
            const std::vector<TokenId> stops = to_tokens(stop_tokens, "stop_tokens");
            const Unlocked released;
            new (self) TokenBytes(tokenizer, vocab_size, stops);
          },
          "tokenizer"_a, "vocab_size"_a, "stop_tokens"_a = nb::tuple(),
          nb::sig("def __init__(self, tokenizer: Tokenizer, vocab_size: int, "
                  "stop_tokens: " KVCACHE_PY_TOKENS " = ()) -> None"),
          "Of the model's ids, some of which the tokenizer may not know. Special tokens and\n"
          "`stop_tokens` are no part of a text.\n\n"
          "Raises:\n    Error: invalid_argument as Tokenizer.bytes, token_out_of_range for a stop\n"
          "        token.")
      .def(
          "__init__",
          [](TokenBytes* self, const nb::iterable& bytes) {
            new (self) TokenBytes(to_byte_strings(bytes));
          },
          "bytes"_a,
          nb::sig("def __init__(self, bytes: collections.abc.Iterable[builtins.bytes]) -> None"),
          "Of a vocabulary from anywhere: element i is what token i adds, empty where it is no\n"
          "part of a text.\n\n"
          "Raises:\n    Error: invalid_argument for more than 2^22 tokens or 2^30 bytes.")
      .def_prop_ro("vocab_size", &TokenBytes::vocab_size)
      .def(
          "of",
          [](const TokenBytes& tokens, TokenId token) {
            const std::string_view bytes = tokens.of(token);
            return nb::bytes(bytes.data(), bytes.size());
          },
          "token"_a, nb::sig("def of(self, token: int) -> builtins.bytes"),
          "Empty for what is no part of a text.\n\nRaises:\n    Error: token_out_of_range.");

  module.def(
      "one_of", &one_of_texts, "choices"_a, "tokens"_a,
      nb::sig("def one_of(choices: collections.abc.Sequence[str], tokens: TokenBytes) -> "
              "kvcache._interfaces.Constraint"),
      "The text is one of `choices`, to the last byte, however it is cut into tokens.\n\n"
      "Raises:\n    Error: invalid_argument where there is none, or one is empty or cannot be\n"
      "        spelled with these tokens.\n\n"
      "Source: include/kvcache/choices.hpp, docs/CONSTRAINTS.md.");
  module.def("one_of", &one_of_moves, "choices"_a, "vocab_size"_a,
             nb::sig("def one_of(choices: collections.abc.Sequence[" KVCACHE_PY_TOKENS
                     "], vocab_size: int) -> kvcache._interfaces.Constraint"),
             "The new tokens are one of these sequences: moves that are tokens themselves.\n\n"
             "Raises:\n    Error: invalid_argument where there is none or one is empty,\n"
             "        token_out_of_range.");
}

}  // namespace kvcache::python
