// Everything at once: many threads, and requests that fail, expire, are cancelled or are asked
// twice.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "evaluator/held_evaluator.hpp"
#include "support/trees.hpp"

namespace kvcache {
namespace {

using std::chrono::microseconds;
using std::chrono::steady_clock;
using test::Random;

constexpr int kThreads = 32;
constexpr std::uint64_t kRequests = 2000;  // of all threads; 100,000 in scripts/test --full

/// Texts with what is known of them from computing each alone, without an evaluator.
class KnownAnswers {
 public:
  struct Text {
    std::vector<TokenId> tokens;
    std::shared_ptr<const Sequence> prefix;  // all of them
    std::vector<std::vector<float>> logits;  // after each token
    TokenTree tree;                          // after the prefix
    std::vector<std::vector<float>> of_nodes;
    std::vector<std::vector<TokenId>> continuations;
    std::vector<std::vector<float>> scores;  // of each of their tokens
  };

  KnownAnswers(const Model& model, std::uint64_t seed) : model_(model) {
    Random random(seed);
    for (int i = 0; i < 12; ++i) {
      Text& text = texts_.emplace_back();
      text.tokens = test::random_tokens(random, model.info(), random.integer(3, 20));
      Sequence sequence = model.new_sequence();
      text.logits = rows_of(sequence.extend(text.tokens, LogitsFor::all));
      text.tree = test::random_tree(random, model.info(), random.integer(1, 8), 4);
      text.of_nodes = rows_of(sequence.evaluate(text.tree).logits());
      for (int c = 0; c < 4; ++c) {
        text.continuations.push_back(
            test::random_tokens(random, model.info(), random.integer(1, 3)));
        text.scores.push_back(log_probabilities(sequence, text.continuations.back()));
      }
      text.prefix = std::make_shared<const Sequence>(std::move(sequence));
    }
  }

  [[nodiscard]] const Model& model() const { return model_; }
  [[nodiscard]] std::size_t size() const { return texts_.size(); }
  [[nodiscard]] const Text& operator[](std::size_t i) const { return texts_[i]; }

 private:
  static std::vector<std::vector<float>> rows_of(const Logits& logits) {
    std::vector<std::vector<float>> rows;
    for (std::size_t row = 0; row < logits.rows(); ++row) {
      rows.emplace_back(logits.row(row).begin(), logits.row(row).end());
    }
    return rows;
  }

  static std::vector<float> log_probabilities(const Sequence& prefix,
                                              const std::vector<TokenId>& continuation) {
    TokenTree chain;
    std::vector<std::size_t> nodes{TokenTree::kPrefix};
    for (std::size_t i = 0; i + 1 < continuation.size(); ++i) {
      chain.tokens.push_back(continuation[i]);
      chain.parents.push_back(static_cast<std::int32_t>(i) - 1);
      nodes.push_back(i);
    }
    const TreeEvaluation evaluation = prefix.evaluate(chain, nodes);
    std::vector<float> found;
    for (std::size_t i = 0; i < continuation.size(); ++i) {
      found.push_back(evaluation.logits().log_probabilities({&continuation[i], 1}, i).front());
    }
    return found;
  }

  const Model& model_;
  std::vector<Text> texts_;
};

/// What all threads found.
struct Tally {
  std::mutex mutex;
  std::map<std::string, int> counts;
  std::vector<double> waits;  // in seconds, of those that were computed

  void add(const std::map<std::string, int>& own, const std::vector<double>& own_waits) {
    const std::scoped_lock lock(mutex);
    for (const auto& [what, count] : own) {
      counts[what] += count;
    }
    waits.insert(waits.end(), own_waits.begin(), own_waits.end());
  }
};

/// A thread's requests, one after the other.
class Worker {
 public:
  Worker(Evaluator& evaluator, const KnownAnswers& known, std::uint64_t seed)
      : evaluator_(evaluator), client_(evaluator.register_client()), known_(known), random_(seed) {
    sequence_ = test::share(evaluator.new_sequence());
  }

  void step() {
    const auto chosen =
        static_cast<std::size_t>(random_.integer(0, static_cast<std::int64_t>(known_.size()) - 1));
    const KnownAnswers::Text& text = known_[chosen];
    switch (random_.integer(0, 9)) {
      case 0:
      case 1:
      case 2:
        return extend(text);
      case 3:
      case 4:
        return evaluate(text, chosen);
      case 5:
      case 6:
        return score(text, chosen);
      case 7:
        return fail(text);
      case 8:
        return expire(text);
      default:
        return cancel(text);
    }
  }

  void report(Tally& tally) const { tally.add(counts_, waits_); }

 private:
  template <typename Result>
  Answer<Result> waited(const Request<Result>& request) {
    const auto began = steady_clock::now();
    Answer<Result> answer = request.get();
    const std::chrono::duration<double> took = steady_clock::now() - began;
    if (answer.by == AnsweredBy::run) {
      waits_.push_back(took.count());
    }
    constexpr const char* kHow[] = {"computed", "joined", "from the cache"};
    ++counts_[kHow[static_cast<int>(answer.by)]];
    return answer;
  }

  void expect_same(std::span<const float> found, std::span<const float> expected) const {
    test::expect_same(known_.model(), found, expected);
  }

  /// Some of the text, then the rest of it, on a sequence of the thread's own.
  void extend(const KnownAnswers::Text& text) {
    sequence_->reset();
    const auto first = static_cast<std::size_t>(
        random_.integer(1, static_cast<std::int64_t>(text.tokens.size()) - 1));
    const auto split = text.tokens.begin() + static_cast<std::ptrdiff_t>(first);
    const Request<Logits> begin =
        client_.submit(ExtendRequest{sequence_, {text.tokens.begin(), split}, {}, {}});
    const Request<Logits> rest = client_.submit(
        ExtendRequest{sequence_, {split, text.tokens.end()}, LogitsFor::all, {.at_length = first}});
    const Logits logits = waited(rest).result;
    for (std::size_t row = 0; row < logits.rows(); ++row) {
      expect_same(logits.row(row), text.logits[first + row]);
    }
    expect_same(begin.get().result.last(), text.logits[first - 1]);
  }

  RequestOptions any_options(std::uint64_t key) {
    RequestOptions options;
    options.priority = static_cast<Priority>(random_.integer(0, 2));
    if (random_.chance(0.3)) {
      options.cache_key = key;
      options.skip_cache = random_.chance(0.5);
    }
    options.join = random_.chance(0.8);
    return options;
  }

  void evaluate(const KnownAnswers::Text& text, std::uint64_t key) {
    const auto answer =
        waited(client_.submit(EvaluateRequest{text.prefix, text.tree, {}, any_options(key)}));
    ASSERT_EQ(answer.result.rows(), text.of_nodes.size());
    for (std::size_t node = 0; node < text.of_nodes.size(); ++node) {
      expect_same(answer.result.row(node), text.of_nodes[node]);
    }
  }

  void score(const KnownAnswers::Text& text, std::uint64_t key) {
    const auto answer =
        waited(client_.submit(ScoreRequest{text.prefix, text.continuations, {}, any_options(key)}));
    for (std::size_t c = 0; c < text.scores.size(); ++c) {
      expect_same(answer.result.tokens(c), text.scores[c]);
    }
  }

  void fail(const KnownAnswers::Text& text) {
    sequence_->reset();
    ++counts_["failed"];
    if (random_.chance(0.5)) {
      std::vector<TokenId> tokens = text.tokens;
      tokens.back() = -1;
      EXPECT_EQ(test::error_of(client_.submit(ExtendRequest{sequence_, tokens})),
                ErrorCode::token_out_of_range);
    } else {
      const std::vector<TokenId> tokens(evaluator_.model().info().max_seq_len, TokenId{1});
      EXPECT_EQ(test::error_of(client_.submit(ScoreRequest{text.prefix, {tokens}})),
                ErrorCode::context_full);
    }
    EXPECT_EQ(sequence_->length(), 0U);
  }

  /// Whether it was answered in time or not, it is right.
  void expire(const KnownAnswers::Text& text) {
    RequestOptions options;
    options.deadline = steady_clock::now() + microseconds(random_.integer(-100, 300));
    answered_or(ErrorCode::deadline_exceeded, "expired", text, options, false);
  }

  void cancel(const KnownAnswers::Text& text) {
    answered_or(ErrorCode::cancelled, "cancelled", text, {}, true);
  }

  void answered_or(ErrorCode code, const char* what, const KnownAnswers::Text& text,
                   const RequestOptions& options, bool cancel) {
    const Request<EvaluatedNodes> request =
        client_.submit(EvaluateRequest{text.prefix, text.tree, {}, options});
    const bool cancelled = cancel && request.cancel();
    try {
      expect_same(request.get().result.row(0), text.of_nodes[0]);
      EXPECT_FALSE(cancelled);
      ++counts_[std::string("not ") + what];
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code) << error.what();
      ++counts_[what];
    }
  }

  Evaluator& evaluator_;
  EvaluatorClient client_;
  const KnownAnswers& known_;
  Random random_;
  std::shared_ptr<Sequence> sequence_;
  std::map<std::string, int> counts_;
  std::vector<double> waits_;
};

void print(const Tally& tally, const EvaluatorMetrics& metrics, double seconds) {
  for (const auto& [what, count] : tally.counts) {
    std::printf("  %s: %d\n", what.c_str(), count);
  }
  const auto runs = static_cast<double>(metrics.runs);
  std::printf("  %.0f requests/s, %.1f rows and %.1f tokens a run\n",
              static_cast<double>(metrics.submitted) / seconds, metrics.rows_per_run.sum / runs,
              metrics.tokens_per_run.sum / runs);
  std::printf("  %.0f runs of %.3f ms, the longest %.3f ms\n", runs,
              1e3 * metrics.run_seconds.sum / runs, 1e3 * metrics.run_seconds.largest);
  std::printf("  in the queue: %.3f ms, the longest %.3f ms\n",
              1e3 * metrics.queue_seconds.sum / static_cast<double>(metrics.queue_seconds.count()),
              1e3 * metrics.queue_seconds.largest);
}

/// The bar is that the longest wait is at most ten times the median. Time says little on a machine
/// that does other things too, so what must hold in any case is stated in runs (ReadyQueueTest)
/// and, here, as time with room for what else the machine does.
void answer_thirty_two_threads(const EvaluatorOptions& evaluator_options) {
  const std::uint64_t seed = test::environment_or("KVCACHE_TEST_SEED", 1);
  SCOPED_TRACE("repeat with KVCACHE_TEST_SEED=" + std::to_string(seed));
  ModelOptions options;
  options.block_len = 8;
  options.poison_freed_blocks = true;
  options.cache_bytes = std::size_t{64} << 20;
  options.num_threads = 1;  // 32 threads are enough for a machine: no run is to wait for a second
  const Model model = Model::load(test::model_path("plain"), options);
  Tally tally;
  {
    const KnownAnswers known(model, seed);
    Evaluator evaluator(model, evaluator_options);
    const std::uint64_t each = std::max<std::uint64_t>(1, test::scaled(kRequests) / kThreads);
    const auto began = steady_clock::now();
    std::vector<std::jthread> threads;
    threads.reserve(kThreads);
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        Worker worker(evaluator, known, seed * 1000 + static_cast<std::uint64_t>(i));
        for (std::uint64_t step = 0; step < each && !testing::Test::HasFailure(); ++step) {
          worker.step();
        }
        worker.report(tally);
      });
    }
    threads.clear();
    const std::chrono::duration<double> took = steady_clock::now() - began;
    const EvaluatorMetrics metrics = evaluator.metrics();
    print(tally, metrics, took.count());
    EXPECT_GE(metrics.submitted, each * kThreads);
    EXPECT_EQ(metrics.submitted,
              metrics.answered + metrics.failed + metrics.cancelled + metrics.expired);
    EXPECT_EQ(metrics.waiting, 0U);
    EXPECT_GT(metrics.rows_per_run.sum, 2 * static_cast<double>(metrics.runs));
  }
  std::ranges::sort(tally.waits);
  const double median = tally.waits[tally.waits.size() / 2];
  const double longest = tally.waits.back();
  std::printf("  waits: median %.3f ms, 99 %% %.3f ms, longest %.3f ms, %.1f times the median\n",
              1e3 * median, 1e3 * tally.waits[tally.waits.size() * 99 / 100], 1e3 * longest,
              longest / median);
  EXPECT_LE(longest, std::max(10 * median, 0.25));
  EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
  model.check_cache_invariants();
}

TEST(EvaluatorStress, ThirtyTwoThreadsAreAnsweredAsIfAlone) { answer_thirty_two_threads({}); }

TEST(EvaluatorStress, AndByTwoRunsAtATime) {
  EvaluatorOptions options;
  options.max_runs = 2;
  options.max_rows = 12;
  answer_thirty_two_threads(options);
}

/// As a search's games ask: at once and again, so many that what waits is shared out among runs,
/// in one, two and three parts (RunSplitting), and that those who are woken wake others.
TEST(EvaluatorStress, SixtyFourClientsWhoComeBackAtOnce) {
  constexpr std::size_t kClients = 64;
  constexpr std::size_t kEach = 220;  // more than are asked while the three ways are tried
  const std::uint64_t seed = test::environment_or("KVCACHE_TEST_SEED", 1);
  SCOPED_TRACE("repeat with KVCACHE_TEST_SEED=" + std::to_string(seed));
  ModelOptions model_options;
  model_options.num_threads = 1;
  const Model model = Model::load(test::model_path("plain"), model_options);
  {
    const KnownAnswers known(model, seed);
    EvaluatorOptions options;
    options.max_runs = 3;
    Evaluator evaluator(model, options);
    std::vector<std::jthread> threads;
    threads.reserve(kClients);
    for (std::size_t client_number = 0; client_number < kClients; ++client_number) {
      threads.emplace_back([&, client_number] {
        EvaluatorClient client = evaluator.register_client();
        Random random(seed * 1000 + client_number);
        for (std::size_t i = 0; i < kEach && !testing::Test::HasFailure(); ++i) {
          const KnownAnswers::Text& text = known[static_cast<std::size_t>(
              random.integer(0, static_cast<std::int64_t>(known.size()) - 1))];
          const auto answer =
              client.answer(ScoreRequest{text.prefix, text.continuations, {}, {.join = false}});
          for (std::size_t c = 0; c < text.scores.size(); ++c) {
            test::expect_same(model, answer.result.tokens(c), text.scores[c]);
          }
        }
      });
    }
    threads.clear();
    const EvaluatorMetrics metrics = evaluator.metrics();
    EXPECT_EQ(metrics.answered, kClients * kEach);
    EXPECT_EQ(metrics.waiting, 0U);
    EXPECT_GT(metrics.rows_per_run.sum, 4 * static_cast<double>(metrics.runs));
  }
  EXPECT_EQ(model.cache_stats().blocks_in_use, 0U);
}

}  // namespace
}  // namespace kvcache
