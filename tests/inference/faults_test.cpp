// Each thing that a public call asks of the system fails, one after the other: the call throws what
// docs/ERRORS.md says, and everything is as before.
#include "support/faults.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "support/models.hpp"
#include "support/temporary_directory.hpp"
#include "support/threads.hpp"

namespace kvcache {
namespace {

using test::Fault;
using test::Faulty;

using Codes = std::set<ErrorCode>;
const Codes memory_codes{ErrorCode::out_of_memory};

/// Calls `attempt` with the n-th call of this kind failing, n = 1, 2, …, until it asks for less;
/// how many failed. `attempt` makes what it needs, calls `under_fault` with what is to be tried,
/// and then checks: it is told whether that threw.
class EachFault {
 public:
  using Try = std::function<void()>;

  /// Whether the work was done; where it threw, with one of `codes`.
  bool under_fault(const Codes& codes, const Try& work) {
    std::optional<ErrorCode> code;
    std::string message;
    {
      const Fault fault(kind_, n_);
      try {
        work();
      } catch (const Error& error) {
        code = error.code();
        message = error.what();
      }
      reached_ = Fault::calls() >= n_;
    }
    if (!code) {
      return true;
    }
    EXPECT_TRUE(reached_) << "nothing failed, but it says: " << message;
    EXPECT_TRUE(codes.contains(*code)) << error_code_name(*code) << ": " << message;
    return false;
  }

  /// Only every `step`-th after the first ones, but all in scripts/test --full; slow tools
  /// (KVCACHE_TEST_SCALE below 1) leave more out.
  static void run(const char* name, Faulty kind, const std::function<void(EachFault&)>& attempt,
                  std::uint64_t step = 1) {
    constexpr std::uint64_t kAlwaysAll = 16;
    step = std::max<std::uint64_t>(1, step * 100 / test::scaled(100));
    EachFault faults(kind);
    std::uint64_t points = 0;
    do {
      SCOPED_TRACE(std::string(name) + ", failure " + std::to_string(faults.n_));
      attempt(faults);
      points += faults.reached_ ? 1 : 0;
      faults.n_ += faults.n_ < kAlwaysAll ? 1 : step;
    } while (faults.reached_ && !testing::Test::HasFailure());
    std::printf("  %s: %llu points\n", name, static_cast<unsigned long long>(points));
  }

 private:
  explicit EachFault(Faulty kind) : kind_(kind) {}

  Faulty kind_;
  std::uint64_t n_ = 1;
  bool reached_ = false;
};

/// Bit for bit, but where a GPU may compute a step in another way than before.
void expect_same_logits(const Model& model, std::span<const float> found,
                        std::span<const float> expected) {
  if (model.device_report().starts_with("cpu: ")) {
    EXPECT_TRUE(std::ranges::equal(found, expected));
  } else {
    test::expect_close(found, expected);
  }
}

ModelOptions short_blocks() {
  ModelOptions options;
  options.block_len = 4;
  options.poison_freed_blocks = true;
  // The way for many tokens, whose memory may fail too, is then that for few as well.
  options.invariant_results =
      test::models_activations() == "bfloat16" && test::models_dtype() == "float32";
  return options;
}

class Faults : public testing::Test {
 protected:
  Faults() {
    text_.extend(kText);
    expected_ = logits_after(text_);
  }

  void SetUp() override {
    if (!test::kFaultsCanBeInjected) {
      GTEST_SKIP() << "the thread sanitiser takes the same functions";
    }
  }

  /// Of one more token, on a fork.
  [[nodiscard]] static std::vector<float> logits_after(const Sequence& sequence) {
    const TokenId next = 9;
    const Logits logits = sequence.fork().extend({&next, 1});
    return {logits.last().begin(), logits.last().end()};
  }

  /// That a fork of the text on which a call failed is as it was.
  void expect_unchanged(const Sequence& sequence, std::size_t blocks,
                        std::size_t own_blocks = 0) const {
    EXPECT_TRUE(std::ranges::equal(sequence.tokens(), kText));
    EXPECT_GE(model_.cache_stats().blocks_in_use, blocks);
    EXPECT_LE(model_.cache_stats().blocks_in_use, blocks + own_blocks);
    model_.check_cache_invariants();
    expect_same_logits(model_, logits_after(sequence), expected_);
  }

  /// Fails everything that `call` asks for on a fork of the text, which ends inside a block. Of the
  /// blocks that it shares, `own_blocks` may have become its own.
  void expect_all_or_nothing(const char* name, Faulty kind, const Codes& codes,
                             const std::function<void(Sequence&)>& call,
                             std::size_t own_blocks = 0) {
    EachFault::run(name, kind, [&](EachFault& faults) {
      Sequence sequence = text_.fork();
      model_.trim_cache();  // so that blocks need memory
      const std::size_t blocks = model_.cache_stats().blocks_in_use;
      if (!faults.under_fault(codes, [&] { call(sequence); })) {
        expect_unchanged(sequence, blocks, own_blocks);
      }
    });
  }

  const std::vector<TokenId> kText{1, 2, 3, 4, 5, 6};
  const std::vector<TokenId> kMore{7, 8, 1, 2};
  test::TemporaryDirectory directory_;
  const std::filesystem::path path_ = directory_.path() / "text.state";
  const std::filesystem::path model_path_ = test::model_path("plain");
  const ModelOptions options_ = short_blocks();
  Model model_ = Model::load(model_path_, options_);
  Sequence text_ = model_.new_sequence();
  std::vector<float> expected_;
};

TEST_F(Faults, Extend) {
  const auto extend = [&](Sequence& sequence) { sequence.extend(kMore); };
  expect_all_or_nothing("extend, allocations", Faulty::allocation, memory_codes, extend);
  expect_all_or_nothing("extend, memory of the cache", Faulty::memory, memory_codes, extend);
}

TEST_F(Faults, ExtendABatch) {
  Sequence other = text_.fork();
  const auto extend = [&](Sequence& sequence) {
    const std::size_t length = other.length();
    const std::array<Extension, 2> batch{
        {{&sequence, kMore, LogitsFor::all}, {&other, kMore, LogitsFor::last}}};
    (void)kvcache::extend(batch);
    other.rewind(length);
  };
  expect_all_or_nothing("extend(batch), allocations", Faulty::allocation, memory_codes, extend);
  expect_all_or_nothing("extend(batch), memory of the cache", Faulty::memory, memory_codes, extend);
  EXPECT_EQ(other.length(), kText.size());
}

TEST_F(Faults, EvaluateATree) {
  const TokenTree tree{{7, 8, 9, 1, 2}, {-1, 0, 0, 1, -1}};
  const auto evaluate = [&](Sequence& sequence) { (void)sequence.evaluate(tree); };
  expect_all_or_nothing("evaluate, allocations", Faulty::allocation, memory_codes, evaluate);
  expect_all_or_nothing("evaluate, memory of the cache", Faulty::memory, memory_codes, evaluate);
}

TEST_F(Faults, CommitANode) {
  const TreeEvaluation evaluation = text_.evaluate({{7, 8, 9}, {-1, 0, 1}});
  const auto commit = [&](Sequence& sequence) { sequence.commit(evaluation, 2); };
  expect_all_or_nothing("commit, allocations", Faulty::allocation, memory_codes, commit);
  expect_all_or_nothing("commit, memory of the cache", Faulty::memory, memory_codes, commit);
}

TEST_F(Faults, ForkRewindAndBegin) {
  expect_all_or_nothing("fork, allocations", Faulty::allocation, memory_codes,
                        [](Sequence& sequence) { (void)sequence.fork(); });
  expect_all_or_nothing("rewind, allocations", Faulty::allocation, {},
                        [](Sequence& sequence) { sequence.rewind(1); });
  expect_all_or_nothing("new_sequence, allocations", Faulty::allocation, memory_codes,
                        [&](Sequence&) { (void)model_.new_sequence(); });
}

TEST_F(Faults, ReadLogits) {
  const Logits logits = text_.fork().extend(kMore, LogitsFor::all);
  const std::vector<TokenScore> expected = logits.top_k(3, 1);
  expect_all_or_nothing("top_k, allocations", Faulty::allocation, memory_codes,
                        [&](Sequence&) { (void)logits.top_k(3, 1); });
  EXPECT_EQ(logits.top_k(3, 1).front().token, expected.front().token);
}

TEST_F(Faults, ForwardWithoutCache) {
  expect_all_or_nothing("forward_without_cache, allocations", Faulty::allocation, memory_codes,
                        [&](Sequence&) { (void)model_.forward_without_cache(kMore); });
}

TEST_F(Faults, Generate) {
  GenerateOptions options{.max_new_tokens = 8, .log_probabilities = 2};
  options.sampling.repetition_penalty = 1.1;
  options.sampling.top_p = 0.9;
  for (const Faulty kind : {Faulty::allocation, Faulty::memory}) {
    expect_all_or_nothing(
        "generate", kind, memory_codes,
        [&](Sequence& sequence) { generate(sequence, kMore, options); }, 1);
    expect_all_or_nothing(
        "generate_samples", kind, memory_codes,
        [&](Sequence& sequence) {
          generate_samples(sequence, kMore, 3, options);
          sequence.rewind(sequence.length() - kMore.size());
        },
        1);
  }
}

TEST_F(Faults, AWindowThatSlides) {
  for (const Faulty kind : {Faulty::allocation, Faulty::memory}) {
    EachFault::run("WindowedSequence::extend", kind, [&](EachFault& faults) {
      WindowedSequence text(model_, {.size = 5, .stride = 3, .sinks = 1});
      text.extend(kText);
      model_.trim_cache();
      const std::size_t blocks = model_.cache_stats().blocks_in_use;
      const std::vector<float> expected = logits_after(text.context());
      if (!faults.under_fault(memory_codes, [&] { text.extend(kMore); })) {
        EXPECT_EQ(text.length(), kText.size());
        EXPECT_EQ(text.slides(), 0U);
        EXPECT_EQ(model_.cache_stats().blocks_in_use, blocks);
        model_.check_cache_invariants();
        expect_same_logits(model_, logits_after(text.context()), expected);
      }
    });
  }
}

TEST_F(Faults, KnownPrefixes) {
  EachFault::run("PrefixCache::insert, allocations", Faulty::allocation, [&](EachFault& faults) {
    PrefixCache known(model_, {.max_bytes = 3 * model_.cache_stats().block_bytes});
    known.insert(text_);
    Sequence other = model_.new_sequence();
    other.extend(std::vector<TokenId>(12, TokenId{3}));  // three blocks: the known ones must go
    const PrefixCacheStats before = known.stats();
    if (!faults.under_fault(memory_codes, [&] { known.insert(other); })) {
      EXPECT_EQ(known.stats().blocks, before.blocks);
      EXPECT_EQ(known.stats().blocks_evicted, before.blocks_evicted);
      EXPECT_EQ(known.longest_match(kText), 4U);
    } else {
      EXPECT_EQ(known.stats().blocks, 3U);
    }
    model_.check_cache_invariants();
  });
  EachFault::run("PrefixCache::acquire, allocations", Faulty::allocation, [&](EachFault& faults) {
    PrefixCache known(model_);
    known.insert(text_);
    std::optional<Sequence> found;
    if (!faults.under_fault(memory_codes, [&] { found = known.acquire(kText); })) {
      EXPECT_EQ(known.stats().hits, 0U);
      found = known.acquire(kText);
    }
    EXPECT_EQ(found->length(), 4U);
    model_.check_cache_invariants();
  });
  EachFault::run("PrefixCache, allocations", Faulty::allocation, [&](EachFault& faults) {
    faults.under_fault(memory_codes, [&] { const PrefixCache known(model_); });
    Sequence sequence = text_.fork();
    sequence.extend(kMore);
  });
}

std::string contents(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST_F(Faults, SaveASequence) {
  Sequence older = model_.new_sequence();
  older.extend(kMore);
  older.save(path_);
  const std::string before = contents(path_);
  for (const auto& [name, kind, code] :
       {std::tuple("save, allocations", Faulty::allocation, ErrorCode::out_of_memory),
        {"save, file operations", Faulty::file, ErrorCode::state_not_saved}}) {
    EachFault::run(name, kind, [&, code = code](EachFault& faults) {
      if (!faults.under_fault({code}, [&] { text_.save(path_); })) {
        EXPECT_EQ(contents(path_), before) << "half a file";
      }
      EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory_.path()), {}), 1)
          << "something is left behind";
      older.save(path_);
    });
  }
}

TEST_F(Faults, LoadASequence) {
  text_.save(path_);
  const Codes of_files{ErrorCode::state_invalid, ErrorCode::model_not_found};
  for (const auto& [name, kind, codes] :
       {std::tuple("load_sequence, allocations", Faulty::allocation, memory_codes),
        {"load_sequence, file operations", Faulty::file, of_files},
        {"load_sequence, memory", Faulty::memory,
         Codes{ErrorCode::out_of_memory, ErrorCode::state_invalid}}}) {
    EachFault::run(name, kind, [&, codes = codes](EachFault& faults) {
      std::optional<Sequence> loaded;
      model_.trim_cache();
      const std::size_t blocks = model_.cache_stats().blocks_in_use;
      if (faults.under_fault(codes, [&] { loaded = model_.load_sequence(path_); })) {
        expect_same_logits(model_, logits_after(*loaded), expected_);
      } else {
        EXPECT_EQ(model_.cache_stats().blocks_in_use, blocks);
      }
      model_.check_cache_invariants();
    });
  }
}

constexpr std::uint64_t kEveryTenth = 10;  // each loads a model

std::ptrdiff_t entries(const char* directory) {
  return std::distance(std::filesystem::directory_iterator(directory), {});
}

/// From the first step of a shape on: workspaces are made, and steps recorded.
TEST_F(Faults, TheFirstSteps) {
  Sequence stepped = model_.new_sequence();
  for (const TokenId token : kText) {
    stepped.extend({&token, 1});
  }
  const std::vector<float> expected = logits_after(stepped);
  EachFault::run(
      "the first three steps, allocations", Faulty::allocation,
      [&](EachFault& faults) {
        const Model model = Model::load(model_path_, options_);
        Sequence sequence = model.new_sequence();
        faults.under_fault(memory_codes, [&] {
          while (sequence.length() < 3) {
            sequence.extend({&kText[sequence.length()], 1});
          }
        });
        for (const TokenId token : std::span(kText).subspan(sequence.length())) {
          sequence.extend({&token, 1});
        }
        EXPECT_TRUE(std::ranges::equal(sequence.tokens(), kText));
        expect_same_logits(model, logits_after(sequence), expected);
        model.check_cache_invariants();
      },
      kEveryTenth);
}

TEST_F(Faults, LoadAModel) {
  ModelOptions options = options_;
  options.num_threads = 4;  // with some to be refused; ONNX Runtime's own in models of float16
  const Codes of_files{ErrorCode::model_not_found, ErrorCode::model_invalid,
                       ErrorCode::config_invalid, ErrorCode::digest_mismatch,
                       ErrorCode::system_refused};
  for (const auto& [name, kind, codes] :
       {std::tuple("Model::load, allocations", Faulty::allocation, memory_codes),
        {"Model::load, file operations", Faulty::file, of_files},
        {"Model::load, memory", Faulty::memory,
         Codes{ErrorCode::out_of_memory, ErrorCode::model_not_found, ErrorCode::model_invalid}},
        {"Model::load, threads", Faulty::thread,
         Codes{ErrorCode::system_refused, ErrorCode::out_of_memory}}}) {
    EachFault::run(
        name, kind,
        [&, codes = codes](EachFault& faults) {
          const std::ptrdiff_t files = entries("/proc/self/fd");
          const std::ptrdiff_t threads = test::threads_of_process();
          faults.under_fault(codes, [&] {
            const Model model = Model::load(model_path_, options);
            (void)model.new_sequence();
          });
          EXPECT_EQ(entries("/proc/self/fd"), files);
          test::expect_threads(threads);
        },
        kEveryTenth);
  }
}

}  // namespace
}  // namespace kvcache
