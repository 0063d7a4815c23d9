// Replays what the searches of a trace asked of their model, on this library: every token is
// computed once. Prints the time per search, and how far the logits are from those that are
// computed from nothing.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <unordered_map>

#include "base/atomic_file.hpp"
#include "kvcache/kvcache.hpp"
#include "program/exit_status.hpp"
#include "program/run.hpp"
#include "program/whole_number.hpp"
#include "trace.hpp"

namespace trigo_bench {
namespace {

using kvcache::Sequence;
using kvcache::TokenId;
using kvcache::TokenTree;
using kvcache::TreeEvaluation;
using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr TokenId kValueToken = kvcache::SharedModelInferencer::kValueToken;

/// Compares some of the answers with those of a run without a cache.
class Agreement {
 public:
  Agreement(const kvcache::Model& model, std::size_t every) : model_(model), every_(every) {}

  void check(const std::string& text, const kvcache::Logits& found, std::size_t row) {
    if (++answers_ % every_ != 0) {
      return;
    }
    ++checked_;
    const kvcache::Logits expected = model_.forward_without_cache(tokens_of(text));
    compare(found.row(row), expected.last());
    if (!model_.info().outputs.empty()) {
      compare(found.output("value", row), expected.output("value", 0));
    }
  }

  [[nodiscard]] std::size_t checked() const { return checked_; }
  [[nodiscard]] float largest_difference() const { return largest_difference_; }
  [[nodiscard]] float largest_logit() const { return largest_logit_; }

 private:
  void compare(std::span<const float> found, std::span<const float> expected) {
    for (std::size_t i = 0; i < expected.size(); ++i) {
      largest_difference_ = std::max(largest_difference_, std::abs(found[i] - expected[i]));
      largest_logit_ = std::max(largest_logit_, std::abs(expected[i]));
    }
  }

  const kvcache::Model& model_;
  std::size_t every_;
  std::size_t answers_ = 0;
  std::size_t checked_ = 0;
  float largest_difference_ = 0;
  float largest_logit_ = 0;
};

/// A position that the search has seen: its text, and the number behind it once it was expanded.
struct Position {
  Sequence sequence;
  bool expanded = false;
  bool valued = false;
};

class Replay {
 public:
  Replay(const kvcache::Model& model, Agreement& agreement)
      : model_(model), agreement_(agreement) {}

  void forget() { positions_.clear(); }

  /// Keeps the sequence of a search's root and nothing else.
  void keep_only_root(const Request& root) {
    const std::string text = text_of(root, root.moves.size());
    Sequence sequence = position(root, text).sequence.fork();
    sequence.rewind(text.size());
    positions_.clear();
    positions_.emplace(text, Position{std::move(sequence)});
  }

  void answer(const Request& request) {
    const std::string text = text_of(request, request.moves.size());
    if (request.kind == Request::Kind::policy) {
      expand(request, text);
    } else {
      value(request, text);
    }
  }

  [[nodiscard]] std::size_t runs() const { return runs_; }
  [[nodiscard]] std::size_t tokens() const { return tokens_; }
  [[nodiscard]] Milliseconds checking() const { return checking_; }

 private:
  /// What a new position's text adds to its parent's sequence.
  struct Base {
    const Sequence* sequence;
    std::string rest;
  };

  Position& position(const Request& request, const std::string& text) {
    if (const auto known = positions_.find(text); known != positions_.end()) {
      return known->second;
    }
    const Base base = base_of(request, text);
    Sequence sequence = base.sequence == nullptr ? model_.new_sequence() : base.sequence->fork();
    static_cast<void>(sequence.extend(tokens_of(base.rest)));
    count(base.rest.size());
    return positions_.emplace(text, Position{std::move(sequence)}).first->second;
  }

  /// The position itself where it is known, else its parent, else nothing.
  Base base_of(const Request& request, const std::string& text) const {
    if (const auto known = positions_.find(text); known != positions_.end()) {
      return {&known->second.sequence, ""};
    }
    if (!request.moves.empty()) {
      const std::size_t before = request.moves.size() - 1;
      const std::string parent = text_of(request, before);
      if (const auto known = positions_.find(parent); known != positions_.end()) {
        const std::size_t have =
            parent.size() + (known->second.expanded ? number_of(before).size() : 0);
        return {&known->second.sequence, text.substr(have)};
      }
    }
    return {nullptr, text};
  }

  /// A tree of the text's rest, to which the caller adds.
  static TokenTree chain(const std::string& rest) {
    TokenTree tree;
    for (const char c : rest) {
      tree.parents.push_back(static_cast<std::int32_t>(tree.tokens.size()) - 1);
      tree.tokens.push_back(c);
    }
    return tree;
  }

  void expand(const Request& request, const std::string& text) {
    if (const auto known = positions_.find(text);
        known != positions_.end() && known->second.expanded) {
      return;
    }
    Base base = base_of(request, text);
    if (base.sequence == nullptr) {
      base = {&position(request, text).sequence, ""};
    }
    const std::string number = number_of(request.moves.size());
    TokenTree tree = chain(base.rest + number);
    const std::size_t length = tree.tokens.size();
    for (std::size_t i = 0; i < request.tokens.size(); ++i) {
      const std::int32_t parent = request.parents[i];
      tree.tokens.push_back(request.tokens[i]);
      tree.parents.push_back(parent + static_cast<std::int32_t>(length));
    }
    std::vector<std::size_t> nodes{length == 0 ? TokenTree::kPrefix : length - 1};
    for (std::size_t i = 0; i < request.tokens.size(); ++i) {
      nodes.push_back(length + i);
    }
    const TreeEvaluation evaluation = base.sequence->evaluate(tree, nodes);
    count(tree.tokens.size());
    read_priors(request, evaluation);
    Position& position = adopt(text, *base.sequence, evaluation, length);
    position.expanded = true;
    check(text + number, evaluation, 0);
    check(text + number + path_text(request), evaluation, nodes.size() - 1);
  }

  void value(const Request& request, const std::string& text) {
    if (const auto known = positions_.find(text);
        known != positions_.end() && known->second.valued) {
      return;
    }
    Base base = base_of(request, text);
    if (base.sequence == nullptr) {
      base = {&position(request, text).sequence, ""};
    }
    std::optional<Sequence> shortened;
    if (base.rest.empty() && base.sequence->length() > text.size()) {
      shortened = base.sequence->fork();
      shortened->rewind(text.size());
      base.sequence = &*shortened;
    }
    TokenTree tree = chain(base.rest);
    const std::size_t length = tree.tokens.size();
    tree.tokens.push_back(kValueToken);
    tree.parents.push_back(static_cast<std::int32_t>(length) - 1);
    const std::size_t nodes[]{length};
    const TreeEvaluation evaluation = base.sequence->evaluate(tree, nodes);
    count(tree.tokens.size());
    sum_ += evaluation.logits().output("value", 0).front();
    if (!shortened) {
      adopt(text, *base.sequence, evaluation, length);
    }
    positions_.at(text).valued = true;
    check(text + static_cast<char>(kValueToken), evaluation, 0);
  }

  /// The position of a text, whose rest was the beginning of an evaluated tree.
  Position& adopt(const std::string& text, const Sequence& base, const TreeEvaluation& evaluation,
                  std::size_t length) {
    auto known = positions_.find(text);
    if (known == positions_.end()) {
      known = positions_.emplace(text, Position{base.fork()}).first;
    }
    if (length > 0) {
      known->second.sequence.commit(evaluation, length - 1);
    }
    return known->second;
  }

  /// As a search does: the log-probability of each node after its parent.
  void read_priors(const Request& request, const TreeEvaluation& evaluation) {
    children_.resize(request.tokens.size() + 1);
    for (auto& tokens : children_) {
      tokens.clear();
    }
    for (std::size_t i = 0; i < request.tokens.size(); ++i) {
      children_[static_cast<std::size_t>(std::int64_t{request.parents[i]} + 1)].push_back(
          request.tokens[i]);
    }
    // The last character of a move is no node of the tree: every row is read once at least.
    for (std::size_t row = 0; row < children_.size(); ++row) {
      if (children_[row].empty()) {
        children_[row].push_back('a');
      }
      for (const float log : evaluation.logits().log_probabilities(children_[row], row)) {
        sum_ += log;
      }
    }
  }

  static std::string path_text(const Request& request) {
    std::string path;
    for (auto at = static_cast<std::int32_t>(request.tokens.size()) - 1; at >= 0;
         at = request.parents[static_cast<std::size_t>(at)]) {
      path += static_cast<char>(request.tokens[static_cast<std::size_t>(at)]);
    }
    return {path.rbegin(), path.rend()};
  }

  void check(const std::string& text, const TreeEvaluation& evaluation, std::size_t row) {
    const auto begin = Clock::now();
    agreement_.check(text, evaluation.logits(), row);
    checking_ += Clock::now() - begin;
  }

  void count(std::size_t tokens) {
    ++runs_;
    tokens_ += tokens;
  }

  const kvcache::Model& model_;
  Agreement& agreement_;
  std::unordered_map<std::string, Position> positions_;
  std::vector<std::vector<TokenId>> children_;
  std::size_t runs_ = 0;
  std::size_t tokens_ = 0;
  Milliseconds checking_{0};  // not part of a search
  double sum_ = 0;
};

struct Options {
  std::string model;
  std::string trace;
  std::string json;
  int threads = 1;
  bool kept = false;
  std::size_t check_every = 400;
  std::size_t most_searches = 0;
  std::size_t block_len = 0;
};

int replay(const Options& options) {
  kvcache::ModelOptions load;
  load.num_threads = options.threads;
  load.block_len = options.block_len;
  load.cache_bytes = std::size_t{2} << 30;
  load.runs_before_move = 0;
  const kvcache::Model model = kvcache::Model::load(options.model, load);
  const std::vector<Search> searches = read_trace(options.trace);
  Agreement agreement(model, options.check_every);
  Replay replay(model, agreement);
  std::vector<double> times;
  std::size_t most_bytes = 0;
  for (const Search& search : searches) {
    if (options.most_searches != 0 && times.size() == options.most_searches) {
      break;
    }
    if (search.first_of_game) {
      replay.forget();
    }
    if (!options.kept && !search.requests.empty()) {
      replay.keep_only_root(search.requests.front());
    }
    const Milliseconds checked_before = replay.checking();
    const auto begin = Clock::now();
    for (const Request& request : search.requests) {
      replay.answer(request);
    }
    const Milliseconds time = Clock::now() - begin - (replay.checking() - checked_before);
    times.push_back(time.count());
    most_bytes = std::max(most_bytes, model.cache_stats().bytes_in_use());
  }
  if (times.empty()) {
    throw kvcache::Error(kvcache::ErrorCode::invalid_argument, options.trace + " holds no search");
  }
  const double mean =
      std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
  std::ranges::sort(times);
  const auto searched = static_cast<double>(times.size());
  const nlohmann::json report{
      {"model", options.model},
      {"trace", options.trace},
      {"kept", options.kept},
      {"threads", options.threads},
      {"block_len", model.cache_stats().block_len},
      {"searches", times.size()},
      {"ms_per_search", mean},
      {"ms_per_search_median", times[times.size() / 2]},
      {"runs_per_search", static_cast<double>(replay.runs()) / searched},
      {"tokens_per_search", static_cast<double>(replay.tokens()) / searched},
      {"cache_bytes_at_most", most_bytes},
      {"answers_checked", agreement.checked()},
      {"largest_logit_difference", agreement.largest_difference()},
      {"largest_logit", agreement.largest_logit()}};
  if (!options.json.empty()) {
    if (options.json == "-") {
      std::cout << report.dump(1) << '\n';
    } else {
      kvcache::AtomicFile file(options.json);
      file.write(report.dump(1) + "\n");
      file.commit();
    }
  }
  if (options.json != "-") {
    fmt::print(
        "{} searches, {}: {:.2f} ms each ({:.2f} median), {:.1f} runs and {:.0f} tokens; "
        "logits differ by {:.1e} at most ({} answers compared)\n",
        times.size(), options.kept ? "subtree kept" : "cold", mean, times[times.size() / 2],
        static_cast<double>(replay.runs()) / searched,
        static_cast<double>(replay.tokens()) / searched, agreement.largest_difference(),
        agreement.checked());
  }
  return kvcache::cli::kOk;
}

int run(int argc, char** argv) {
  Options options;
  CLI::App app("Replays what the searches of a trace asked of their model.", "trigo_replay");
  app.footer(kvcache::cli::kExitStatusHelp);
  app.add_option("--model", options.model, "model directory, with an output \"value\"")->required();
  app.add_option("--trace", options.trace, "file of requests")->required();
  app.add_option("--threads", options.threads, "threads of one run (default: 1)")
      ->check(kvcache::cli::whole_number(1, 1024));
  app.add_flag("--kept", options.kept, "keep what is known from one move of a game to the next");
  app.add_option("--check-every", options.check_every,
                 "compare every N-th answer with a run without a cache (default: 400)")
      ->check(kvcache::cli::whole_number(1));
  app.add_option("--searches", options.most_searches, "replay no more than so many")
      ->check(kvcache::cli::whole_number(1));
  app.add_option("--block-len", options.block_len, "tokens per cache block (default: the model's)")
      ->check(kvcache::cli::whole_number(1));
  app.add_option("--json", options.json, "write the figures to a file, - for standard output");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? kvcache::cli::kOk : kvcache::cli::kBadInput;
  }
  return replay(options);
}

}  // namespace
}  // namespace trigo_bench

int main(int argc, char** argv) {
  return kvcache::cli::run_program([&] { return trigo_bench::run(argc, argv); });
}
