// kvcache info: what a model is and what it takes.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <memory>

#include "arguments.hpp"
#include "commands.hpp"
#include "program/exit_status.hpp"
#include "report/format.hpp"
#include "report/json.hpp"

namespace kvcache::cli {
namespace {

struct InfoArguments {
  ModelArguments model;
  bool json = false;
};

void print_fact(const char* name, const std::string& value) {
  fmt::print("{:<22} {}\n", name, value);
}

void print_facts(const Model& model) {
  const ModelInfo& info = model.info();
  const std::size_t per_token = info.cache_bytes_per_token();
  const auto bytes = [](std::size_t count) {
    return fmt::format("{} ({} bytes)", report::format_bytes(count), count);
  };
  print_fact("Model", fmt::format("{}, {}", info.model_type, info.source));
  print_fact("Layers", fmt::format("{}", info.num_layers));
  print_fact("Heads", fmt::format("{}", info.num_heads));
  print_fact("Head dimension", fmt::format("{}", info.head_dim));
  print_fact("Vocabulary size", fmt::format("{}", info.vocab_size));
  print_fact("Max sequence length", fmt::format("{}", info.max_seq_len));
  for (const OutputInfo& output : info.outputs) {
    print_fact("Output", fmt::format("{}, {} numbers a token", output.name, output.size));
  }
  if (info.bos_token_id) {
    print_fact("First token", fmt::format("{}", *info.bos_token_id));
  }
  if (!info.stop_token_ids.empty()) {
    print_fact("Stop tokens", fmt::format("{}", fmt::join(info.stop_token_ids, ", ")));
  }
  print_fact("Element type", std::string(data_type_name(info.dtype)));
  print_fact("Keys and values", std::string(data_type_name(info.cache_dtype)));
  print_fact("Weights", info.activations == data_type_name(info.dtype)
                            ? info.weights
                            : fmt::format("{}, multiplied with {} activations", info.weights,
                                          info.activations));
  print_fact("Model files", bytes(info.model_bytes));
  print_fact("Weights per token", bytes(info.weight_bytes_per_token));
  print_fact("Cache per token", bytes(per_token));
  print_fact("Cache per sequence", bytes(info.max_seq_len * per_token));
  print_fact("Digest", info.digest);
  print_fact("Device", model.device_report());
  print_fact("Bits of a token", model.invariant_results()
                                    ? "the same whatever is computed beside it"
                                    : "may depend on what is computed beside it");
}

int run_info(const InfoArguments& arguments) {
  const Model model = arguments.model.load();
  if (arguments.json) {
    report::Json json = report::to_json(model.info());
    json["device"] = model.device_report();
    json["threads"] = model.num_threads();
    json["invariant_results"] = model.invariant_results();
    fmt::print("{}\n", json.dump(2));
  } else {
    print_facts(model);
  }
  return kOk;
}

}  // namespace

Command add_info(CLI::App& program) {
  auto arguments = std::make_shared<InfoArguments>();
  CLI::App* parser = program.add_subcommand("info", "Shows what a model is and what it takes");
  arguments->model.add_to(*parser);
  parser->add_flag("--json", arguments->json, "as JSON");
  parser->footer(kExitStatusHelp);
  return {parser, [arguments] { return run_info(*arguments); }};
}

}  // namespace kvcache::cli
