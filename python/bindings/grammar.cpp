// A text that has to match a regular expression or a JSON schema.

#include "kvcache/grammar.hpp"

#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string_view.h>
#include <nanobind/stl/unique_ptr.h>

#include <filesystem>
#include <memory>
#include <optional>
#include <string_view>

#include "bindings/bind.hpp"
#include "bindings/constraint_object.hpp"
#include "bindings/interpreter_lock.hpp"

namespace kvcache::python {
namespace {

/// A compiler and who uses it.
struct CompilerObject {
  CompilerObject(const TokenBytes& tokens, const GrammarOptions& options)
      : compiler(tokens, options) {}

  template <typename Compile>
  std::unique_ptr<ConstraintObject> compile(Compile&& made) {
    const Changing changing(use, "grammar compiler");
    const Unlocked released;
    return std::make_unique<ConstraintObject>(made(compiler));
  }

  GrammarCompiler compiler;
  Use use;
};

}  // namespace

void bind_grammar(nb::module_& module) {
  using namespace nb::literals;
  nb::class_<CompilerObject>(
      module, "GrammarCompiler",
      "Makes constraints of grammars, for a vocabulary, by the library of the package xgrammar,\n"
      "which is optional. One thread at a time.\n\n"
      "Source: include/kvcache/grammar.hpp, docs/CONSTRAINTS.md.")
      .def(
          "__init__",
          [](CompilerObject* self, const TokenBytes& tokens,
             const std::optional<std::filesystem::path>& directory, int num_threads) {
            const auto found =
                nb::module_::import_("kvcache._xgrammar").attr("directory")(directory);
            const GrammarOptions options{nb::cast<std::filesystem::path>(found), num_threads};
            const Unlocked released;
            new (self) CompilerObject(tokens, options);
          },
          "tokens"_a, nb::kw_only(), "directory"_a = nb::none(), "num_threads"_a = 1,
          nb::sig("def __init__(self, tokens: TokenBytes, *, "
                  "directory: str | os.PathLike[str] | None = None, num_threads: int = 1) -> None"),
          "Args:\n"
          "    directory: with the packages xgrammar and tvm_ffi, none of whose Python is run;\n"
          "        None: that of the environment variable KVCACHE_XGRAMMAR_DIR, else where this\n"
          "        Python would import them from.\n"
          "    num_threads: how many compile a grammar.\n\n"
          "Raises:\n    Error: grammar_unavailable where xgrammar is not there or of another\n"
          "        version, invalid_argument.")
      .def(
          "json_schema",
          [](CompilerObject& object, std::string_view schema, bool any_whitespace) {
            return object.compile([&](const GrammarCompiler& compiler) {
              return compiler.json_schema(schema, {any_whitespace});
            });
          },
          "schema"_a, nb::kw_only(), "any_whitespace"_a = false,
          nb::sig("def json_schema(self, schema: str, *, any_whitespace: bool = False) -> "
                  "kvcache._interfaces.Constraint"),
          "A JSON value that the schema, itself a text of JSON, allows. Objects have the\n"
          "properties that it names, in its order, and no others.\n\n"
          "Args:\n    any_whitespace: whether white space may be anywhere between the parts; else\n"
          "        it is where json.dumps writes it.\n\n"
          "Raises:\n    Error: grammar_invalid, out_of_memory.")
      .def(
          "regex",
          [](CompilerObject& object, std::string_view pattern) {
            return object.compile(
                [&](const GrammarCompiler& compiler) { return compiler.regex(pattern); });
          },
          "pattern"_a, nb::sig("def regex(self, pattern: str) -> kvcache._interfaces.Constraint"),
          "A text that the regular expression matches from its beginning to its end.\n\n"
          "Raises:\n    Error: as json_schema().");
}

}  // namespace kvcache::python
