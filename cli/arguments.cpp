#include "arguments.hpp"

#include <fmt/format.h>

#include <map>
#include <string>

#include "program/progress.hpp"
#include "program/standard_streams.hpp"
#include "program/whole_number.hpp"
#include "token_list.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kMaxCacheMib = std::size_t{1} << 27;  // 2^47 bytes: a process's addresses

}  // namespace

void ModelArguments::add_to(CLI::App& command) {
  command
      .add_option("MODEL_DIR", path,
                  "model directory written by export_gpt2_kvcache.py, or its "
                  ".onnx file")
      ->required();
  command.add_option("--threads", threads, "threads of one run (default: one per physical core)")
      ->check(whole_number(1));
  command.add_option("--device", device, "fail unless the model runs there")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  command
      .add_option("--cache-mib", cache_mib,
                  "the most MiB that keys and values may take (default: enough for 16 sequences "
                  "of full length)")
      ->check(whole_number(1, kMaxCacheMib));
  command
      .add_option("--weight-memory", weight_memory,
                  "where weights lie on the CPU: moved into huge pages after --runs-before-move "
                  "(the default), mapped from the file for good, or read during the load")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, WeightMemory>{{"huge-pages", WeightMemory::huge_pages},
                                              {"mapped", WeightMemory::mapped},
                                              {"copied", WeightMemory::copied}}))
      ->option_text("huge-pages|mapped|copied");
  command.add_option("--runs-before-move", runs_before_move,
                     "runs (decoded tokens) until weights are moved into huge pages; 0: at once");
  command.add_flag(
      "--no-fused-steps", no_fused_steps,
      "run decode steps node by node, or on a GPU as captured graphs, where they could "
      "be one kernel: to compare");
  command.add_flag(
      "--invariant", invariant,
      "fail unless a token's results are the same bits whatever is computed beside it");
  auto* verbosely =
      command.add_flag("--verbose", verbose, "what is being done, and ONNX Runtime's messages");
  command.add_flag("--quiet", quiet, "no progress on the terminal while long work goes on")
      ->excludes(verbosely);
}

Model ModelArguments::load() const {
  ModelOptions options;
  options.num_threads = threads;
  options.cache_bytes = cache_mib << 20U;
  options.weight_memory = weight_memory;
  options.runs_before_move = runs_before_move;
  options.fuse_steps = !no_fused_steps;
  options.invariant_results = invariant;
  if (!device.empty()) {
    options.require_device = device == "cuda" ? Device::cuda : Device::cpu;
  }
  if (verbose) {
    options.log = write_error_line;
  }
  const WaitingLine waiting(fmt::format("loading {}", path.string()), quiet || verbose);
  return Model::load(path, options);
}

namespace {

std::filesystem::path directory_of(const std::filesystem::path& model) {
  return std::filesystem::is_directory(model) ? model : model.parent_path();
}

}  // namespace

Tokenizer load_tokenizer(const std::filesystem::path& model) {
  return Tokenizer::load(directory_of(model));
}

ChatTemplate load_chat_template(const std::filesystem::path& model) {
  return ChatTemplate::load(directory_of(model));
}

CLI::Option* IdsArgument::add_to(CLI::App& command) {
  return command.add_option("--ids", text, "token ids, separated by commas or spaces")->required();
}

std::vector<TokenId> IdsArgument::parse() const { return parse_ids(text); }

CLI::Validator not_empty() {
  return {[](const std::string& text) {
            return text.empty() ? std::string("the name of a file is missing") : std::string();
          },
          ""};
}

void WindowArguments::add_to(CLI::App& command) {
  command
      .add_option("--window", options.size,
                  "tokens that stay when a text outgrows window and stride (default: half of the "
                  "model's positions; an eighth where keys and values are kept, docs/WINDOW.md)")
      ->check(whole_number(1));
  command
      .add_option("--stride", options.stride,
                  "tokens between two slides (default: the positions that the window leaves; one "
                  "block where keys and values are kept)")
      ->check(whole_number(1));
  command
      .add_option("--sinks", options.sinks,
                  "first tokens of the text that stay whenever it slides (default: 0)")
      ->check(whole_number(0));
}

}  // namespace kvcache::cli
