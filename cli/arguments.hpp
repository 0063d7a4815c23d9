// Arguments that several subcommands share.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "kvcache/kvcache.hpp"

namespace kvcache::cli {

/// MODEL_DIR and how it is loaded.
struct ModelArguments {
  std::filesystem::path path;
  int threads = 0;
  std::string device;
  std::size_t cache_mib = 0;
  WeightMemory weight_memory = WeightMemory::huge_pages;
  std::size_t runs_before_move = ModelOptions().runs_before_move;
  bool no_fused_steps = false;
  bool invariant = false;
  bool verbose = false;
  bool quiet = false;

  void add_to(CLI::App& command);

  /// Loads the model; with --verbose, ONNX Runtime's messages go to standard error.
  /// @throws Error as Model::load
  [[nodiscard]] Model load() const;
};

/// The tokenizer of a model, which lies beside it.
/// @throws Error as Tokenizer::load
Tokenizer load_tokenizer(const std::filesystem::path& model);

/// The chat template of a model, which lies beside it.
/// @throws Error as ChatTemplate::load
ChatTemplate load_chat_template(const std::filesystem::path& model);

/// --ids
struct IdsArgument {
  std::string text;

  CLI::Option* add_to(CLI::App& command);
  [[nodiscard]] std::vector<TokenId> parse() const;
};

/// Accepts any path but an empty one, which some shell's variable was meant to hold.
CLI::Validator not_empty();

/// --window, --stride, --sinks
struct WindowArguments {
  WindowOptions options;

  void add_to(CLI::App& command);
};

}  // namespace kvcache::cli
