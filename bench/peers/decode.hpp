// The job of every peer in cpu_peers.py; decode_job.py is the same for those in Python.
//
// A process loads the model; decodes 64 tokens after a prompt of 8, noting how long after its own
// start some of them are there; then, in rounds of which the first warms up, prefills prompts of
// the given depths and decodes after each, choosing the best token each time; 512 is the depth
// whose prefill is noted, and deeper ones, whose prefill would take most of the time, are for the
// last round alone. Its memory after loading and its peak are noted. Then 16
// rows are prefilled and decoded together, and, where a file is given, the logits after each token
// of a fixed text are written to it.
#pragma once

#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>

#include "job.hpp"

namespace peers {

constexpr std::size_t kFirstPrompt = 8;
constexpr std::size_t kPrefill = 512;
constexpr std::size_t kFirstTokens[] = {1, 16, 64};  // whose times since the start are noted
constexpr std::size_t kRows = 16;
constexpr std::size_t kRowDepth = 128;
constexpr std::size_t kRowWarmUp = 4;     // steps
constexpr std::size_t kTextPrompt = 64;   // tokens of the text encoded at once
constexpr std::size_t kTextTokens = 256;  // and one by one, whose logits are written
constexpr Token kPromptSeed = 1;
constexpr Token kTextSeed = 100;

/// The most memory this process had resident, mapped files included.
inline std::size_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) {
      return static_cast<std::size_t>(std::strtoull(line.c_str() + 6, nullptr, 10)) << 10U;
    }
  }
  return 0;
}

struct Figures {
  double load_ms = 0;
  std::map<std::size_t, double> token_ms;  // from the process's start on, by token
  std::vector<double> prefill_ms;
  std::map<std::size_t, std::vector<double>> decode_ms;     // by depth
  std::map<std::size_t, std::vector<Token>> decode_tokens;  // of the last round
  std::size_t resident_before_load = 0;
  std::size_t loaded_bytes = 0;  // the peak of loading
  std::size_t peak_bytes = 0;
  std::vector<double> row_step_ms;
};

/// Since processes.py started this process.
inline double since_start_ms() {
  const char* const started = std::getenv("KVCACHE_BENCH_STARTED_NS");
  if (started == nullptr) {
    throw std::runtime_error("KVCACHE_BENCH_STARTED_NS is not set; cpu_peers.py runs this program");
  }
  const std::chrono::duration<double, std::milli> now =
      std::chrono::steady_clock::now().time_since_epoch();
  return now.count() - std::strtod(started, nullptr) / 1e6;
}

template <typename Runner>
void decode_first_tokens(Runner& runner, Figures& figures) {
  Token next = runner.extend(tokens_of(kFirstPrompt, kPromptSeed, runner.vocab_size()));
  std::size_t token = 1;
  for (const std::size_t wanted : kFirstTokens) {
    for (; token < wanted; ++token) {
      next = runner.extend({&next, 1});
    }
    figures.token_ms[wanted] = since_start_ms();
  }
}

template <typename Runner>
void decode_rounds(Runner& runner, const std::vector<std::size_t>& depths, int rounds,
                   std::size_t tokens, Figures& figures) {
  const Token vocab_size = runner.vocab_size();
  for (int round = 0; round <= rounds; ++round) {
    for (const std::size_t depth : depths) {
      if (depth > kPrefill && round < rounds) {
        continue;
      }
      const std::vector<Token> prompt = tokens_of(depth, kPromptSeed, vocab_size);
      runner.reset();
      Token next = 0;
      const double prefill_ms = time_of([&] { next = runner.extend(prompt); });
      if (round > 0 && depth == kPrefill) {
        figures.prefill_ms.push_back(prefill_ms);
      }
      std::vector<Token>& chosen = figures.decode_tokens[depth];
      chosen = {next};
      for (std::size_t i = 0; i < tokens; ++i) {
        const double milliseconds = time_of([&] { next = runner.extend({&next, 1}); });
        chosen.push_back(next);
        if (round > 0) {
          figures.decode_ms[depth].push_back(milliseconds);
        }
      }
    }
  }
}

template <typename Runner>
void decode_rows(Runner& runner, std::size_t steps, Figures& figures) {
  std::vector<std::vector<Token>> prompts;
  for (std::size_t row = 0; row < kRows; ++row) {
    prompts.push_back(tokens_of(kRowDepth, static_cast<Token>(row) + 1, runner.vocab_size()));
  }
  std::vector<Token> next = runner.start_rows(prompts);
  for (std::size_t step = 0; step < kRowWarmUp + steps; ++step) {
    const double milliseconds = time_of([&] { runner.step_rows(next); });
    if (step >= kRowWarmUp) {
      figures.row_step_ms.push_back(milliseconds);
    }
  }
}

template <typename Runner>
bool write_logits(Runner& runner, const char* path) {
  const std::vector<Token> text =
      tokens_of(kTextPrompt + kTextTokens, kTextSeed, runner.vocab_size());
  std::ofstream file(path, std::ios::binary);
  runner.reset();
  runner.extend(std::span(text).first(kTextPrompt));
  for (const Token& token : std::span(text).subspan(kTextPrompt)) {
    runner.extend({&token, 1});
    const std::span<const float> logits = runner.logits();
    file.write(reinterpret_cast<const char*>(logits.data()),
               static_cast<std::streamsize>(logits.size_bytes()));
  }
  return file.flush().good();
}

inline void print(const Figures& figures) {
  std::printf("{\"load_ms\": %.3f, ", figures.load_ms);
  for (const std::size_t token : kFirstTokens) {
    std::printf("\"token_%zu_ms\": %.3f, ", token, figures.token_ms.at(token));
  }
  std::printf("\"resident_before_load\": %zu, \"loaded_bytes\": %zu, \"peak_bytes\": %zu, ",
              figures.resident_before_load, figures.loaded_bytes, figures.peak_bytes);
  print_list("prefill_ms", figures.prefill_ms, ", ");
  print_list("row_step_ms", figures.row_step_ms, ", ");
  for (const auto& [depth, samples] : figures.decode_ms) {
    const std::string number = std::to_string(depth);
    print_list(("decode_ms_" + number).c_str(), samples, ", ");
    print_list(("tokens_" + number).c_str(), figures.decode_tokens.at(depth),
               depth == figures.decode_ms.rbegin()->first ? "}\n" : ", ");
  }
}

/// "8,512"
inline std::vector<std::size_t> depths_of(const char* text) {
  std::vector<std::size_t> depths;
  std::istringstream stream(text);
  for (std::string depth; std::getline(stream, depth, ',');) {
    depths.push_back(std::stoul(depth));
  }
  return depths;
}

/// The most positions that one sequence of the job has.
inline std::size_t positions_of(const std::vector<std::size_t>& depths, std::size_t tokens) {
  const std::size_t deepest = *std::ranges::max_element(depths) + tokens;
  return std::max({deepest, kFirstPrompt + std::end(kFirstTokens)[-1], kTextPrompt + kTextTokens});
}

/// `Runner(model, threads, positions)`, whose sequence is to have room for so many, has
/// vocab_size(); reset(); extend(tokens), which continues the sequence and chooses the best next
/// token; logits() of the last token; start_rows(prompts), which gives each row's choice, and
/// step_rows(next), which feeds and replaces them.
template <typename Runner>
int decode_main(int argc, char** argv) try {
  if (argc != 7) {
    std::fprintf(stderr, "usage: %s MODEL THREADS ROUNDS TOKENS DEPTHS LOGITS_FILE|-\n", argv[0]);
    return 2;
  }
  Figures figures;
  figures.resident_before_load = peak_resident_bytes();
  const auto tokens = static_cast<std::size_t>(std::atoi(argv[4]));
  const std::vector<std::size_t> depths = depths_of(argv[5]);
  const double begin = since_start_ms();
  Runner runner(argv[1], std::atoi(argv[2]), positions_of(depths, tokens));
  figures.load_ms = since_start_ms() - begin;
  figures.loaded_bytes = peak_resident_bytes();
  decode_first_tokens(runner, figures);
  decode_rounds(runner, depths, std::atoi(argv[3]), tokens, figures);
  figures.peak_bytes = peak_resident_bytes();
  decode_rows(runner, tokens, figures);
  const bool written = std::strcmp(argv[6], "-") == 0 || write_logits(runner, argv[6]);
  print(figures);
  return written ? 0 : 1;
} catch (const std::exception& error) {
  std::fprintf(stderr, "error: %s\n", error.what());
  return 1;
}

}  // namespace peers
