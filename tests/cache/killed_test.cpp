// Processes that are killed while they save and load a state: the file is the old one or the new
// one, whole, and the next save removes what they left.
#include <gtest/gtest.h>

#include <chrono>
#include <iostream>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "cache/saved_state.hpp"
#include "device/cpu/cpu_backend.hpp"
#include "support/forked.hpp"
#include "support/random_cases.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache::cache {
namespace {

namespace fs = std::filesystem;

constexpr PoolShape kLargeShape{.num_layers = 4,
                                .num_heads = 4,
                                .head_dim = 16,
                                .block_len = 16,
                                .element_bytes = 4,
                                .max_blocks = 64};
constexpr std::size_t kTokens = 100;
constexpr std::chrono::microseconds kLongest{20'000};

/// How often a process is killed; 200 times in scripts/test --full.
std::uint64_t number_of_kills() { return test::environment_or("KVCACHE_TEST_KILLS", 5); }

class Killed : public testing::Test {
 protected:
  Killed() {
    model_.digest = "0123456789abcdef0123456789abcdef";
    model_.num_layers = kLargeShape.num_layers;
    model_.num_kv_heads = kLargeShape.num_heads;
    model_.head_dim = kLargeShape.head_dim;
    model_.vocab_size = 1000;
    model_.max_seq_len = 1024;
  }

  void SetUp() override {
#ifdef __SANITIZE_THREAD__
    GTEST_SKIP() << "the thread sanitiser knows no children of a process with threads";
#endif
    std::cout << "seed " << seed_ << "\n";
  }

  [[nodiscard]] fs::path path() const { return directory_.path() / "state"; }

  /// A state of this many tokens, all of them `token`, which also fills the keys and values.
  void save(TokenId token, std::size_t count) {
    BlockTable table(pool_);
    table.apply(table.plan_growth(0, count));
    for (const Block& block : table.blocks()) {
      for (std::size_t p = 0; p < kLargeShape.num_pools(); ++p) {
        const std::vector<std::byte> bytes(kLargeShape.layer_block_bytes(),
                                           static_cast<std::byte>(token));
        pool_.write_block(p, block, bytes.data());
      }
    }
    save_state(path(), model_.digest, std::vector<TokenId>(count, token), table);
  }

  /// The token that the state at path() consists of; fails where it is none, or a mixture.
  TokenId load() {
    BlockTable table(pool_);
    const std::vector<TokenId> tokens = load_state(path(), model_, table);
    std::vector<std::byte> bytes(kLargeShape.layer_block_bytes());
    pool_.read_block(kLargeShape.num_pools() - 1, table.blocks().front(), bytes.data());
    EXPECT_EQ(bytes.front(), static_cast<std::byte>(tokens.front()));
    EXPECT_EQ(std::set<TokenId>(tokens.begin(), tokens.end()).size(), 1U);
    return tokens.front();
  }

  void wait_a_moment() {
    std::uniform_int_distribution<std::int64_t> moment(0, kLongest.count());
    std::this_thread::sleep_for(std::chrono::microseconds(moment(random_)));
  }

  [[nodiscard]] std::ptrdiff_t files() const {
    return std::distance(fs::directory_iterator(directory_.path()), {});
  }

  test::TemporaryDirectory directory_;
  ModelInfo model_;
  device::CpuBackend backend_;
  BlockPool pool_{kLargeShape, 8, false, backend_};
  std::uint64_t seed_ = test::environment_or("KVCACHE_TEST_SEED", std::random_device{}());
  std::mt19937_64 random_{seed_};
};

TEST_F(Killed, WhileItSaves) {
  save(1, kTokens);
  for (std::uint64_t kill = 0; kill < number_of_kills(); ++kill) {
    const TokenId before = load();
    const TokenId next = before % 200 + 1;
    {
      test::Forked child([&] { save(next, kTokens); });
      wait_a_moment();
      EXPECT_TRUE(child.kill());
    }
    const TokenId after = load();
    EXPECT_TRUE(after == before || after == next) << after;
  }
  save(7, kTokens);
  EXPECT_EQ(load(), 7);
  EXPECT_EQ(files(), 1);  // what the killed ones left is gone
}

TEST_F(Killed, WhileItLoads) {
  save(3, kTokens);
  for (std::uint64_t kill = 0; kill < number_of_kills(); ++kill) {
    test::Forked child([&] { load(); });
    wait_a_moment();
    EXPECT_TRUE(child.kill());
    EXPECT_EQ(load(), 3);
  }
  EXPECT_EQ(files(), 1);
}

}  // namespace
}  // namespace kvcache::cache
