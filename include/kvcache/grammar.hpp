// A text that has to match a regular expression or a JSON schema, by the library xgrammar.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

#include "kvcache/choices.hpp"
#include "kvcache/constraint.hpp"
#include "kvcache/export.hpp"

namespace kvcache {

struct GrammarOptions {
  /// The directory with the Python packages xgrammar and tvm_ffi (no Python is run). Empty: that of
  /// the environment variable KVCACHE_XGRAMMAR_DIR, else the one given at build.
  std::filesystem::path directory = {};
  /// How many threads compile a grammar.
  int num_threads = 1;
};

struct JsonSchemaOptions {
  /// Whether white space may be anywhere between the parts of the JSON; else it is where json.dumps
  /// of Python writes it. Small models may write white space for ever.
  bool any_whitespace = false;
};

/// Makes constraints of grammars, for a vocabulary. xgrammar is loaded at run time, once for the
/// process; it is optional: docs/CONSTRAINTS.md says where it comes from.
///
/// Copies share all. One thread at a time.
class KVCACHE_EXPORT GrammarCompiler {
 public:
  /// @throws Error grammar_unavailable where xgrammar is not there, is of another version, or that
  ///         of another directory is loaded; invalid_argument for a number of threads that is none
  explicit GrammarCompiler(const TokenBytes& tokens, const GrammarOptions& options = {});

  /// A JSON value that the schema allows. Objects have the properties that it names, in its order,
  /// and no others.
  /// @throws Error grammar_invalid where the text is no JSON, is longer than 2^20 bytes, or is
  ///         refused by xgrammar; out_of_memory
  [[nodiscard]] std::unique_ptr<Constraint> json_schema(
      std::string_view schema, const JsonSchemaOptions& options = {}) const;

  /// A text that the regular expression matches from its beginning to its end: ECMAScript's syntax,
  /// as far as xgrammar has it.
  /// @throws Error as json_schema()
  [[nodiscard]] std::unique_ptr<Constraint> regex(std::string_view pattern) const;

 private:
  struct Impl;
  std::shared_ptr<const Impl> impl_;
};

}  // namespace kvcache
