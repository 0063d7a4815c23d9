// The job that both programs do: 64 continuations of one 200-token prefix.
//
// Each round computes the prefix; then, timed, the logits after each of 64 different next tokens;
// then, timed step by step, all 64 are decoded on together, greedily. Choosing the best tokens is
// part of what is timed, by the same code for both.
#pragma once

#include <cstdlib>
#include <fstream>

#include "job.hpp"

namespace peers {

constexpr std::size_t kPrefix = 200;
constexpr std::size_t kContinuations = 64;
constexpr std::size_t kSteps = 16;

/// `Runner(model, threads)` has vocab_size(); prefill(prefix), which forgets what was before;
/// evaluate(tokens, visit), which calls visit(i, logits) for each continuation and leaves the
/// prefix as it was; fork(count), which makes so many copies of the prefix; and step(tokens,
/// visit), which appends one token to each copy.
template <typename Runner>
int main_of(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: %s MODEL THREADS ROUNDS LOGITS_FILE\n", argv[0]);
    return 2;
  }
  Runner runner(argv[1], std::atoi(argv[2]));
  const int rounds = std::atoi(argv[3]);
  const std::vector<Token> prefix = tokens_of(kPrefix, 1, runner.vocab_size());
  const std::vector<Token> continuations = tokens_of(kContinuations, 2, runner.vocab_size());
  std::vector<double> evaluate_ms;
  std::vector<double> step_ms;
  std::vector<Token> best(kContinuations);
  std::vector<Token> evaluated;
  const auto choose = [&](std::size_t i, std::span<const float> logits) {
    best[i] = best_of(logits);
  };
  for (int round = 0; round <= rounds; ++round) {
    runner.prefill(prefix);
    const double milliseconds = time_of([&] { runner.evaluate(continuations, choose); });
    evaluated = best;
    std::vector<double> steps;
    best = continuations;
    runner.fork(kContinuations);
    for (std::size_t step = 0; step < kSteps; ++step) {
      const std::vector<Token> next = best;
      steps.push_back(time_of([&] { runner.step(next, choose); }));
    }
    if (round > 0) {  // the first one warms up
      evaluate_ms.push_back(milliseconds);
      step_ms.insert(step_ms.end(), steps.begin(), steps.end());
    }
  }
  const std::vector<Token> decoded = best;
  runner.prefill(prefix);
  std::ofstream file(argv[4], std::ios::binary);
  runner.evaluate(continuations, [&](std::size_t, std::span<const float> logits) {
    file.write(reinterpret_cast<const char*>(logits.data()),
               static_cast<std::streamsize>(logits.size_bytes()));
  });
  std::printf("{");
  print_list("evaluate_ms", evaluate_ms, ", ");
  print_list("step_ms", step_ms, ", ");
  print_list("evaluated", evaluated, ", ");
  print_list("decoded", decoded, "}\n");
  return file.flush().good() ? 0 : 1;
}

}  // namespace peers
