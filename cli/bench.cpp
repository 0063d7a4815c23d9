// kvcache bench: how fast a model runs here. What is measured lies in a file per mode
// (bench_sequence.cpp, bench_tree.cpp, …); this one reads the options and reports.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "arguments.hpp"
#include "bench_mode.hpp"
#include "bench_output.hpp"
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
    Mode{"recompute", bench_recompute, "--tokens ",
         "256 new tokens with the cache, against evaluating the whole text for each of them"},
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

/// What is measured for a page, unless --mode says otherwise: what readers of one ask first.
constexpr std::array<std::string_view, 4> kModesOfPage{"sequence", "recompute", "batch", "tree"};

struct BenchArguments {
  ModelArguments model;
  std::vector<std::string> modes;
  BenchOptions options;
  WindowArguments window;
  BenchFiles files;

  /// Those to measure, in their order.
  [[nodiscard]] std::vector<const Mode*> chosen_modes() const {
    std::vector<const Mode*> chosen;
    for (const Mode& mode : kModes) {
      const bool usual = files.html.empty() ? &mode == kModes.data()
                                            : std::ranges::count(kModesOfPage, mode.name) > 0;
      if (modes.empty() ? usual : std::ranges::count(modes, mode.name) > 0) {
        chosen.push_back(&mode);
      }
    }
    return chosen;
  }
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

bool has_option(const Mode& mode, const std::string& name) {
  return mode.options.find(name + " ") != std::string_view::npos;
}

/// Options that only some modes have are refused where none of those is measured.
void check_options(const CLI::App& parser, const std::vector<const Mode*>& chosen) {
  for (const Mode& other : kModes) {
    std::string_view rest = other.options;
    while (!rest.empty()) {
      const std::string name(rest.substr(0, rest.find(' ')));
      rest.remove_prefix(name.size() + 1);
      const bool known =
          std::ranges::any_of(chosen, [&](const Mode* mode) { return has_option(*mode, name); });
      if (parser.count(name) == 0 || known) {
        continue;
      }
      if (chosen.size() > 1) {
        throw UsageError(
            fmt::format("{} is for none of the modes that are measured; see kvcache "
                        "bench --help",
                        name));
      }
      const std::string_view own = chosen.front()->options;
      throw UsageError(fmt::format("{} is not for --mode {}; it has {}", name, chosen.front()->name,
                                   own.empty() ? "none" : own.substr(0, own.size() - 1)));
    }
  }
}

/// Several depths are mode sequence's; beside it the others take what they do without.
BenchOptions options_of(const Mode& mode, const BenchOptions& options, std::size_t modes) {
  BenchOptions own = options;
  if (modes > 1 && own.depths.size() > 1 && mode.run != bench_sequence) {
    own.depths.clear();
  }
  return own;
}

report::Json to_json(const Model& model, const BenchArguments& arguments, std::string_view mode,
                     double load_ms, bool moved, const BenchReport& report) {
  report::Json json = {{"format", "kvcache-bench"},
                       {"format_version", 3},
                       {"mode", mode},
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

void print_model(const Model& model, double load_ms) {
  const ModelInfo& info = model.info();
  const report::Environment environment = report::read_environment();
  fmt::print("Model      {}, {}, {}, {}\n", info.model_type, info.source,
             data_type_name(info.dtype), report::format_bytes(info.model_bytes));
  fmt::print("Device     {}\n", model.device_report());
  fmt::print("Versions   kvcache {}, {}; {}\n", environment.kvcache_version, environment.compiler,
             environment.date);
  fmt::print("Load       {:.0f} ms\n", load_ms);
}

void print_measured(const BenchReport& report) {
  fmt::print("Agreement  {}\n\n", report.agreement.describe());
  fmt::print("{}", report.holds() ? report.text : "No speeds: something does not hold.\n");
}

void report_what_does_not_hold(const BenchReport& report) {
  if (!report.agreement.holds()) {
    report_error("cached and uncached do not agree: " + report.agreement.describe(), kFailed);
  }
  for (const std::string& broken : report.broken) {
    report_error(broken, kFailed);
  }
}

int run_bench(const CLI::App& parser, BenchArguments& arguments) {
  const std::vector<const Mode*> modes = arguments.chosen_modes();
  check_options(parser, modes);
  arguments.options.window = arguments.window.options;
  arguments.options.model = arguments.model.path;
  arguments.options.generate = generate_words(arguments.model);
  Progress progress(arguments.model.quiet);
  BenchOutput output(arguments.files);  // before the work that it would lose
  std::optional<Model> model;
  const double load_ms = time_of([&] { model = arguments.model.load(); });
  // How fast it is in the long run is the question; "mapped" asks for something else.
  const bool moved = arguments.model.weight_memory != WeightMemory::mapped && model->move_weights();
  std::vector<report::Json> measured;
  std::vector<BenchReport> reports;
  for (const Mode* mode : modes) {
    arguments.options.progress = [&](const WorkStep& step) {
      if (arguments.model.verbose) {
        write_error_line(step.what);
      } else {
        progress.show({fmt::format("{}: {}", mode->name, step.what), step.done, step.total});
      }
    };
    reports.push_back(mode->run(*model, options_of(*mode, arguments.options, modes.size())));
    measured.push_back(to_json(*model, arguments, mode->name, load_ms, moved, reports.back()));
  }
  progress.take_away();
  output.write(measured);
  if (!arguments.files.json_to_stdout()) {
    print_model(*model, load_ms);
    for (std::size_t i = 0; i < modes.size(); ++i) {
      if (modes.size() > 1) {
        fmt::print("\nMode       {}\n", modes[i]->name);
      }
      print_measured(reports[i]);
    }
  }
  std::ranges::for_each(reports, report_what_does_not_hold);
  return std::ranges::all_of(reports, &BenchReport::holds) ? kOk : kFailed;
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
  parser
      ->add_option("--mode", arguments->modes,
                   "what to measure; one or more, separated by commas (default: sequence; with "
                   "--html " +
                       fmt::format("{})", fmt::join(kModesOfPage, ",")))
      ->delimiter(',')
      ->allow_extra_args(false)
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
  arguments->files.add_to(*parser);
  parser->footer(modes_help());
  return {parser, [parser, arguments] { return run_bench(*parser, *arguments); }};
}

}  // namespace kvcache::cli
