// kvcache bench: how fast a model runs here. What is measured lies in a file per mode
// (bench_sequence.cpp, bench_tree.cpp, …); this one reads the options and reports.

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arguments.hpp"
#include "base/atomic_file.hpp"
#include "bench_mode.hpp"
#include "commands.hpp"
#include "program/exit_status.hpp"
#include "program/run.hpp"
#include "program/standard_streams.hpp"
#include "program/whole_number.hpp"
#include "report/environment.hpp"
#include "report/format.hpp"

namespace kvcache::cli {
namespace {

constexpr std::size_t kMaxSequences = std::size_t{1} << 20;
constexpr std::size_t kMaxClients = 4096;

struct Mode {
  std::string_view name;
  BenchReport (*run)(const Model& model, const BenchOptions& options);
  std::string_view options;  // those of its own, each followed by a space
  std::string_view help;
};

constexpr std::array kModes{
    Mode{"sequence", bench_sequence, "--prompt --tokens --depth ",
         "prefill (512 tokens) and decoding (64 tokens at depths 8 and 512), beside the memory's "
         "read bandwidth"},
    Mode{"fork", bench_fork, "--prompt ", "forks of a sequence (1000 tokens), and what they copy"},
    Mode{"tree", bench_tree, "--prompt --siblings --curve ",
         "64 continuations of a prefix (200 tokens): as a tree, by a fork each, from nothing each"},
    Mode{"batch", bench_batch, "--rows --tokens --depth ",
         "16 rows decoded together (32 tokens at depth 128), equal and ragged, against one row"},
    Mode{"search", bench_search, "--rows --nodes ",
         "the trees (20 nodes) of 64 games over prefixes of 40 to 200 tokens, a run for all of "
         "them"},
    Mode{"evaluator", bench_evaluator, "--clients --tokens --depth ",
         "32 threads that ask one model (64 tokens each at depth 128), and what a request costs"},
    Mode{"window", bench_window, "--tokens --window --stride --sinks ",
         "a text longer than the context: the cost of a token, sliding included"},
    Mode{
        "start", bench_start, "",
        "the time from a process's start to its 1st, 16th and 64th token, by where the weights are "
        "kept"},
    Mode{"save", bench_save, "--prompt ",
         "a saved sequence (1000 tokens): loading it against computing it"}};

struct BenchArguments {
  ModelArguments model;
  std::string mode{kModes.front().name};
  BenchOptions options;
  WindowArguments window;
  std::string json;

  [[nodiscard]] bool json_to_stdout() const { return json == "-"; }
};

/// Of a process that loads the model as this one does, but for where its weights lie.
std::vector<std::string> generate_words(const ModelArguments& model) {
  std::vector<std::string> words{"generate", model.path.string()};
  if (model.threads > 0) {
    words.insert(words.end(), {"--threads", std::to_string(model.threads)});
  }
  if (!model.device.empty()) {
    words.insert(words.end(), {"--device", model.device});
  }
  return words;
}

/// Options that only some modes have are refused by the others.
void check_options(const CLI::App& parser, const Mode& mode) {
  for (const Mode& other : kModes) {
    std::string_view rest = other.options;
    while (!rest.empty()) {
      const std::string name(rest.substr(0, rest.find(' ')));
      rest.remove_prefix(name.size() + 1);
      if (parser.count(name) > 0 && mode.options.find(name + " ") == std::string_view::npos) {
        throw UsageError(fmt::format(
            "{} is not for --mode {}; it has {}", name, mode.name,
            mode.options.empty() ? "none" : mode.options.substr(0, mode.options.size() - 1)));
      }
    }
  }
}

report::Json to_json(const Model& model, const BenchArguments& arguments, double load_ms,
                     bool moved, const BenchReport& report) {
  report::Json json = {{"format", "kvcache-bench"},
                       {"format_version", 3},
                       {"mode", arguments.mode},
                       {"environment", report::to_json(report::read_environment())},
                       {"model", report::to_json(model.info())},
                       {"device", model.device_report()},
                       {"threads", model.num_threads()},
                       {"rounds", arguments.options.repeat},
                       {"load_ms", load_ms},
                       {"weights_moved", moved},
                       {"agreement", report::to_json(report.agreement)},
                       {"broken", report.broken}};
  json.update(report.json);
  return json;
}

void print_human(const Model& model, double load_ms, const BenchReport& report) {
  const ModelInfo& info = model.info();
  const report::Environment environment = report::read_environment();
  fmt::print("Model      {}, {}, {}, {}\n", info.model_type, info.source,
             data_type_name(info.dtype), report::format_bytes(info.model_bytes));
  fmt::print("Device     {}\n", model.device_report());
  fmt::print("Versions   kvcache {}, {}; {}\n", environment.kvcache_version, environment.compiler,
             environment.date);
  fmt::print("Load       {:.0f} ms\n", load_ms);
  fmt::print("Agreement  {}\n\n", report.agreement.describe());
  fmt::print("{}", report.holds() ? report.text : "No speeds: something does not hold.\n");
}

int run_bench(const CLI::App& parser, BenchArguments& arguments) {
  const Mode& mode = *std::ranges::find(kModes, arguments.mode, &Mode::name);
  check_options(parser, mode);
  arguments.options.window = arguments.window.options;
  arguments.options.model = arguments.model.path;
  arguments.options.generate = generate_words(arguments.model);
  arguments.options.progress = [verbose = arguments.model.verbose](const std::string& message) {
    if (verbose) {
      write_error_line(message);
    }
  };
  std::optional<AtomicFile> file;
  if (!arguments.json.empty() && !arguments.json_to_stdout()) {
    file.emplace(arguments.json);  // before the work that it would lose
  }
  std::optional<Model> model;
  const double load_ms = time_of([&] { model = arguments.model.load(); });
  // How fast it is in the long run is the question; "mapped" asks for something else.
  const bool moved = arguments.model.weight_memory != WeightMemory::mapped && model->move_weights();
  const BenchReport report = mode.run(*model, arguments.options);
  const std::string json = to_json(*model, arguments, load_ms, moved, report).dump(2);
  if (file) {
    file->write(json + '\n');
    file->commit();
  }
  if (arguments.json_to_stdout()) {
    fmt::print("{}\n", json);
  } else {
    print_human(*model, load_ms, report);
  }
  if (!report.agreement.holds()) {
    report_error("cached and uncached do not agree: " + report.agreement.describe(), kFailed);
  }
  for (const std::string& broken : report.broken) {
    report_error(broken, kFailed);
  }
  return report.holds() ? kOk : kFailed;
}

/// Names of the modes, and what each measures.
std::string modes_help() {
  std::string text = "Modes, and their options:\n";
  for (const Mode& mode : kModes) {
    text += fmt::format("  {:<9} {}\n{:12}{}\n", mode.name, mode.help, "",
                        mode.options.empty() ? "none" : mode.options);
  }
  return text + "\n" + kExitStatusHelp;
}

}  // namespace

Command add_bench(CLI::App& program) {
  auto arguments = std::make_shared<BenchArguments>();
  BenchOptions& options = arguments->options;
  CLI::App* parser = program.add_subcommand(
      "bench", "Measures speed, beside the agreement with a model that knows no cache");
  arguments->model.add_to(*parser);
  std::vector<std::string> names;
  std::ranges::transform(kModes, std::back_inserter(names),
                         [](const Mode& mode) { return std::string(mode.name); });
  parser->add_option("--mode", arguments->mode, "what to measure")
      ->capture_default_str()
      ->check(CLI::IsMember(names));
  parser->add_option("--prompt", options.prompt, "tokens that are encoded first")
      ->check(whole_number(1));
  parser->add_option("--tokens", options.tokens, "tokens decoded in each round")
      ->check(whole_number(1));
  parser
      ->add_option("--depth", options.depths,
                   "tokens cached before decoding begins; in mode sequence one or more, separated "
                   "by commas")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(whole_number(1));
  parser->add_option("--rows", options.rows, "sequences decoded together, or games")
      ->check(whole_number(1, kMaxSequences));
  parser->add_option("--clients", options.clients, "threads that ask")
      ->check(whole_number(1, kMaxClients));
  parser->add_option("--siblings", options.siblings, "continuations of the prefix")
      ->check(whole_number(1, kMaxSequences));
  parser->add_option("--nodes", options.nodes, "nodes of each game's tree")
      ->check(whole_number(1, kMaxSequences));
  parser->add_flag("--curve", options.curve,
                   "many prefixes, depths and numbers of siblings: where a tree pays");
  arguments->window.add_to(*parser);
  parser->add_option("--repeat", options.repeat, "rounds, after what warms up")
      ->capture_default_str()
      ->check(whole_number(1));
  parser
      ->add_option("--json", arguments->json,
                   "writes everything measured, raw samples included, to this file; - for "
                   "standard output, without the table")
      ->check(not_empty());
  parser->footer(modes_help());
  return {parser, [parser, arguments] { return run_bench(*parser, *arguments); }};
}

}  // namespace kvcache::cli
