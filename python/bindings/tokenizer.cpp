// Text to tokens and back.

#include "kvcache/tokenizer.hpp"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/vector.h>

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bindings/bind.hpp"
#include "bindings/interpreter_lock.hpp"
#include "bindings/tokens.hpp"

namespace kvcache::python {
namespace {

std::vector<TokenId> encode(const Tokenizer& tokenizer, std::string_view text,
                            bool add_special_tokens, bool special_tokens_as_text) {
  const Unlocked released;
  return tokenizer.encode(text, {add_special_tokens, special_tokens_as_text});
}

std::string decode(const Tokenizer& tokenizer, const nb::object& tokens, bool skip_special_tokens,
                   bool skip_unknown_ids) {
  const std::vector<TokenId> ids = to_tokens(tokens);
  const Unlocked released;
  return tokenizer.decode(ids, {skip_special_tokens, skip_unknown_ids});
}

nb::object bytes(const Tokenizer& tokenizer, TokenId id) {
  const std::optional<std::string> found = tokenizer.bytes(id);
  return found ? nb::object(nb::bytes(found->data(), found->size())) : nb::none();
}

}  // namespace

void bind_tokenizer(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<TextStream>(
      module, "TextStream",
      "A text that grows as tokens come. What push() has returned never changes: bytes that may\n"
      "yet be a part of a character wait. All that push() and finish() return, joined, is what\n"
      "Tokenizer.decode makes of the same tokens.\n\nSource: include/kvcache/tokenizer.hpp.")
      .def("push", &TextStream::push, "token"_a, nb::lock_self(),
           "What the text has grown by; often empty.\n\n"
           "Raises:\n    Error: token_out_of_range, unless such ids are skipped.")
      .def("finish", &TextStream::finish, nb::lock_self(),
           "What is still waiting: there is no further token. The next one begins another text.");

  nb::class_<Tokenizer>(
      module, "Tokenizer",
      "A tokenizer as Hugging Face's `tokenizers` describes it in tokenizer.json, with a model of\n"
      "byte-pair encoding: the ids and texts are those of that library. Any thread may use it.\n\n"
      "Source: include/kvcache/tokenizer.hpp, docs/TOKENIZER.md.")
      .def_static(
          "load",
          [](const std::filesystem::path& path) {
            const Unlocked released;
            return Tokenizer::load(path);
          },
          "path"_a, nb::sig("def load(path: str | os.PathLike[str]) -> Tokenizer"),
          "Reads a tokenizer.json, or that of a directory, or its vocab.json and merges.txt.\n\n"
          "Raises:\n    Error: model_not_found, tokenizer_invalid.")
      .def_static("from_json", &Tokenizer::from_json, "text"_a, nb::call_guard<Unlocked>(),
                  "Reads the text of a tokenizer.json.\n\nRaises:\n    Error: tokenizer_invalid.")
      .def(
          "encode", &encode, "text"_a, nb::kw_only(), "add_special_tokens"_a = true,
          "special_tokens_as_text"_a = false,
          "The tokens of a text.\n\n"
          "Args:\n"
          "    add_special_tokens: whether those that the tokenizer puts around a text are there.\n"
          "    special_tokens_as_text: whether special tokens that are written out in the text "
          "are\n"
          "        text like any other. Set it for text from strangers.\n\n"
          "Raises:\n    Error: run_failed (the tokenizer's patterns take too many steps).")
      .def("decode", &decode, "tokens"_a, nb::kw_only(), "skip_special_tokens"_a = true,
           "skip_unknown_ids"_a = false,
           nb::sig("def decode(self, tokens: " KVCACHE_PY_TOKENS
                   ", *, skip_special_tokens: bool = True, skip_unknown_ids: bool = False) -> str"),
           "The text of tokens: bytes that are no character become U+FFFD.\n\n"
           "Raises:\n    Error: token_out_of_range where no token has one of these ids, unless "
           "they\n"
           "        are skipped.")
      .def(
          "new_text",
          [](const Tokenizer& tokenizer, bool skip_special_tokens, bool skip_unknown_ids) {
            return tokenizer.new_text({skip_special_tokens, skip_unknown_ids});
          },
          nb::kw_only(), "skip_special_tokens"_a = true, "skip_unknown_ids"_a = false,
          "A text to be decoded token by token.")
      .def("token_id", &Tokenizer::token_id, "token"_a,
           "The id of a token by its text as the tokenizer's file has it, such as \"</s>\".")
      .def("token", &Tokenizer::token, "id"_a, "The reverse; None where no token has this id.")
      .def("bytes", &bytes, "id"_a, nb::sig("def bytes(self, id: int) -> builtins.bytes | None"),
           "The bytes that a token adds to a text that has begun; None where no token has this "
           "id.\n\n"
           "Raises:\n    Error: tokenizer_invalid where tokens have no bytes of their own.")
      .def("is_special", &Tokenizer::is_special, "id"_a)
      .def_prop_ro("vocab_size", &Tokenizer::vocab_size, "One above the largest id.");
}

}  // namespace kvcache::python
