// kvcache bench --mode start: how long after the start of a process its first tokens are there.
//
// Processes of `kvcache generate` load the model, each way of keeping the weights in turn. Its
// files are in the system's memory (warm), or were dropped from there and come from the disk
// (cold).

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <map>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "base/file_descriptor.hpp"
#include "base/throw_error.hpp"
#include "bench_mode.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"
#include "token_list.hpp"

namespace kvcache::cli {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr std::array<std::size_t, 3> kTokens{1, 16, 64};
constexpr std::size_t kCompared = 4;  // tokens whose logits are compared with an uncached forward

struct WeightPlace {
  const char* name;
  std::vector<std::string> options;
};

const std::vector<WeightPlace>& weight_places() {
  static const std::vector<WeightPlace> all{
      {"as it is", {}},
      {"copied during the load", {"--weight-memory", "copied"}},
      {"moved beside the tokens", {"--runs-before-move", "0"}},
      {"mapped", {"--weight-memory", "mapped"}}};
  return all;
}

/// What a process printed, and when so many words of it were there, in milliseconds.
struct Printed {
  std::string text;
  std::map<std::size_t, double> word_ms;
};

std::system_error failed(const char* doing, int error) {
  return {error, std::generic_category(), doing};
}

/// Runs this program with other arguments.
/// @throws Error run_failed where it does not end with 0
class Process {
 public:
  explicit Process(std::vector<std::string> arguments) : begin_(Clock::now()) {
    std::array<int, 2> pipe{};
    if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
      throw failed("cannot make a pipe", errno);
    }
    output_ = FileDescriptor(pipe[0]);
    const FileDescriptor input(pipe[1]);
    std::vector<char*> words{const_cast<char*>("kvcache")};
    std::ranges::transform(arguments, std::back_inserter(words),
                           [](std::string& argument) { return argument.data(); });
    words.push_back(nullptr);
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, input.get(), STDOUT_FILENO);
    // What it says of itself would stand between the lines of this process.
    if (errors_.get() >= 0) {
      ::posix_spawn_file_actions_adddup2(&actions, errors_.get(), STDERR_FILENO);
    }
    const int error =
        ::posix_spawn(&id_, "/proc/self/exe", &actions, nullptr, words.data(), environ);
    ::posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
      throw failed("cannot start a process", error);
    }
  }
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() {
    output_ = FileDescriptor();  // it ends where nobody reads any more
    if (id_ > 0) {
      ::waitpid(id_, nullptr, 0);
    }
  }

  Printed read() {
    Printed printed;
    std::size_t words = 0;
    std::array<char, 4096> piece{};
    for (;;) {
      const ssize_t count = ::read(output_.get(), piece.data(), piece.size());
      if (count < 0 && errno == EINTR) {
        throw_if_interrupted();
        continue;
      }
      if (count <= 0) {
        break;
      }
      const std::chrono::duration<double, std::milli> since = Clock::now() - begin_;
      for (const char letter : std::string_view(piece.data(), static_cast<std::size_t>(count))) {
        const bool begins = std::isspace(letter) == 0 &&
                            (printed.text.empty() || std::isspace(printed.text.back()) != 0);
        printed.text += letter;
        if (begins) {
          printed.word_ms[++words] = since.count();
        }
      }
    }
    int status = 0;
    ::waitpid(std::exchange(id_, 0), &status, 0);
    if (status != 0) {
      throw_error(ErrorCode::run_failed, "a process of `kvcache generate` ended with status {}: {}",
                  WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), said());
    }
    return printed;
  }

 private:
  /// The beginning of what it wrote to standard error.
  [[nodiscard]] std::string said() const {
    std::array<char, 1024> text{};
    const ssize_t count = ::pread(errors_.get(), text.data(), text.size(), 0);
    return count > 0 ? std::string(text.data(), static_cast<std::size_t>(count)) : "no reason";
  }

  Clock::time_point begin_;
  FileDescriptor output_;
  FileDescriptor errors_{::memfd_create("standard error", MFD_CLOEXEC)};
  pid_t id_ = 0;
};

/// Reads the model's files, or has the system forget what it has of them.
void bring_into_state(const fs::path& model, bool warm) {
  const fs::path directory = fs::is_directory(model) ? model : model.parent_path();
  std::vector<char> piece(1 << 20);
  for (const auto& entry : fs::directory_iterator(directory.empty() ? "." : directory)) {
    const FileDescriptor file(::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.is_open() || !entry.is_regular_file()) {
      continue;
    }
    if (warm) {
      while (::read(file.get(), piece.data(), piece.size()) > 0) {
      }
    } else {
      ::fdatasync(file.get());  // what was not written yet would stay
      ::posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
    }
  }
}

/// The tokens that every process must print.
std::vector<TokenId> expected_tokens(const Model& model, TokenId first, std::size_t count,
                                     report::Agreement& agreement) {
  Sequence sequence = model.new_sequence();
  std::vector<TokenId> tokens{first};
  while (tokens.size() <= count) {
    const Logits logits = sequence.extend(std::span(tokens).last(1));
    if (tokens.size() <= kCompared) {
      compare_with_uncached(model, sequence.tokens(), logits.last(), agreement);
    }
    tokens.push_back(logits.argmax());
  }
  return {tokens.begin() + 1, tokens.end()};
}

}  // namespace

BenchReport bench_start(const Model& model, const BenchOptions& options) {
  constexpr TokenId kFirst = 1;
  std::vector<std::size_t> wanted(kTokens.begin(), kTokens.end());
  std::erase_if(wanted, [&](std::size_t token) { return token >= model.info().max_seq_len; });
  check_positions("a first token and one more", 2, model);
  BenchReport report;
  report.agreement = new_agreement(model);
  const std::vector<TokenId> expected =
      expected_tokens(model, kFirst, wanted.back(), report.agreement);

  std::map<std::tuple<bool, std::string, std::size_t>, std::vector<double>> samples;
  for (std::size_t round = 0; round < options.repeat; ++round) {
    options.progress(
        {fmt::format("round {} of {}", round + 1, options.repeat), round, options.repeat});
    for (const bool warm : {true, false}) {
      for (const WeightPlace& place : weight_places()) {
        throw_if_interrupted();
        std::vector<std::string> arguments = options.generate;
        arguments.insert(arguments.end(), place.options.begin(), place.options.end());
        for (const auto& word : {std::string("--ids"), std::to_string(kFirst),
                                 std::string("--max-new-tokens"), std::to_string(wanted.back())}) {
          arguments.push_back(word);
        }
        bring_into_state(options.model, warm);
        const Printed printed = Process(std::move(arguments)).read();
        if (parse_ids(printed.text) != expected) {
          report.broken.push_back(
              fmt::format("a process with the weights {} printed other tokens", place.name));
          return report;
        }
        for (const std::size_t token : wanted) {
          samples[{warm, place.name, token}].push_back(printed.word_ms.at(token));
        }
      }
    }
  }

  std::vector<std::string> head{"Files", "Weights"};
  for (const std::size_t token : wanted) {
    head.push_back(fmt::format("Token {}, ms", token));
  }
  report::Table table(head);
  report.json["start"] = report::Json::array();
  for (const bool warm : {true, false}) {
    for (const WeightPlace& place : weight_places()) {
      std::vector<std::string> row{warm ? "warm" : "cold", place.name};
      report::Json entry = {{"files", row[0]}, {"weights", place.name}};
      for (const std::size_t token : wanted) {
        const std::vector<double>& times = samples.at({warm, place.name, token});
        row.push_back(fmt::format("{:.0f}", report::median(times)));
        entry[fmt::format("token_{}", token)] = report::times_to_json(times);
      }
      table.add_row(row);
      report.json["start"].push_back(entry);
    }
  }
  report.text = table.to_string();
  return report;
}

}  // namespace kvcache::cli
