#include "arguments.hpp"

#include <fmt/format.h>

#include <charconv>
#include <cstdio>
#include <map>
#include <string>
#include <system_error>

#include "exit_status.hpp"

namespace kvcache::cli {
namespace {

constexpr std::string_view kSpace = " \t\n\r";

TokenId parse_id(std::string_view word) {
  TokenId id = 0;
  const char* end = word.data() + word.size();
  const auto [stopped, error] = std::from_chars(word.data(), end, id);
  if (error == std::errc::result_out_of_range) {
    throw UsageError(fmt::format("--ids: {} is too large for a token id", word));
  }
  if (error != std::errc() || stopped != end) {
    throw UsageError(
        fmt::format("--ids: \"{}\" is not a token id; give whole numbers separated by "
                    "commas or spaces, such as 50256,318",
                    word));
  }
  return id;
}

/// Takes the next word off `text`; empty at the end.
std::string_view next_word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(kSpace), text.size()));
  const std::string_view word = text.substr(0, text.find_first_of(kSpace));
  text.remove_prefix(word.size());
  return word;
}

/// The ids of a field between two commas, separated by spaces.
void parse_field(std::string_view field, std::vector<TokenId>& ids) {
  std::string_view word = next_word(field);
  if (word.empty()) {
    throw UsageError("--ids: an id is missing before, between or after commas");
  }
  for (; !word.empty(); word = next_word(field)) {
    ids.push_back(parse_id(word));
  }
}

CLI::Validator at_least(std::size_t least) {
  return {[least](const std::string& text) {
            std::size_t number = 0;
            const char* end = text.data() + text.size();
            const auto [stopped, error] = std::from_chars(text.data(), end, number);
            return error == std::errc() && stopped == end && number >= least
                       ? std::string()
                       : fmt::format("\"{}\" is not a whole number of at least {}", text, least);
          },
          ""};
}

}  // namespace

void ModelArguments::add_to(CLI::App& command) {
  command
      .add_option("MODEL_DIR", path,
                  "model directory written by export_gpt2_kvcache.py, or its "
                  ".onnx file")
      ->required();
  command.add_option("--threads", threads, "threads of one run (default: one per physical core)")
      ->check(at_least_one());
  command.add_option("--device", device, "fail unless the model runs there")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  command
      .add_option("--cache-mib", cache_mib,
                  "the most MiB that keys and values may take (default: enough for 16 sequences "
                  "of full length)")
      ->check(at_least_one());
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
  command.add_flag("--verbose", verbose, "what is being done, and ONNX Runtime's messages");
}

Model ModelArguments::load() const {
  ModelOptions options;
  options.num_threads = threads;
  options.cache_bytes = cache_mib << 20U;
  options.weight_memory = weight_memory;
  options.runs_before_move = runs_before_move;
  if (!device.empty()) {
    options.require_device = device == "cuda" ? Device::cuda : Device::cpu;
  }
  if (verbose) {
    options.log = [](std::string_view message) { fmt::print(stderr, "{}\n", message); };
  }
  return Model::load(path, options);
}

void IdsArgument::add_to(CLI::App& command) {
  command.add_option("--ids", text, "token ids, separated by commas or spaces")->required();
}

std::vector<TokenId> IdsArgument::parse() const { return parse_ids(text); }

void WindowArguments::add_to(CLI::App& command) {
  command
      .add_option("--window", options.size,
                  "tokens that stay when a text outgrows the model's positions and the window "
                  "slides (default: half of the positions)")
      ->check(at_least_one());
  command
      .add_option("--stride", options.stride,
                  "tokens between two slides (default: the positions that the window leaves)")
      ->check(at_least_one());
  command
      .add_option("--sinks", options.sinks,
                  "first tokens of the text that stay whenever it slides (default: 0)")
      ->check(at_least_zero());
}

CLI::Validator at_least_zero() { return at_least(0); }
CLI::Validator at_least_one() { return at_least(1); }

std::vector<TokenId> parse_ids(std::string_view text) {
  std::vector<TokenId> ids;
  if (text.find_first_not_of(kSpace) == std::string_view::npos) {
    throw UsageError("--ids: no token ids were given; at least one is needed");
  }
  while (true) {
    const std::size_t comma = text.find(',');
    parse_field(text.substr(0, comma), ids);
    if (comma == std::string_view::npos) {
      return ids;
    }
    text.remove_prefix(comma + 1);
  }
}

}  // namespace kvcache::cli
