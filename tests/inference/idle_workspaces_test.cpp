#include "inference/idle_workspaces.hpp"

#include <gtest/gtest.h>

#include "support/random_cases.hpp"

namespace kvcache::inference {
namespace {

using test::Random;

struct Alive {
  std::size_t count = 0;
  std::size_t bytes = 0;
};

class FakeWorkspace {
 public:
  FakeWorkspace(int kind, int shape, std::size_t bytes, Alive& alive)
      : kind_(kind), shape_(shape), bytes_(bytes), alive_(alive) {
    ++alive_.count;
    alive_.bytes += bytes_;
  }
  ~FakeWorkspace() {
    --alive_.count;
    alive_.bytes -= bytes_;
  }
  FakeWorkspace(const FakeWorkspace&) = delete;
  FakeWorkspace& operator=(const FakeWorkspace&) = delete;

  [[nodiscard]] int cache_use() const { return kind_; }
  [[nodiscard]] int shape() const { return shape_; }
  [[nodiscard]] std::size_t logits_capacity() const { return bytes_; }

 private:
  int kind_;
  int shape_;
  std::size_t bytes_;
  Alive& alive_;
};

class IdleWorkspacesTest : public testing::Test {
 protected:
  static constexpr std::size_t kMostBytes = 1000;

  void put(int kind, int shape, std::size_t bytes = 1) {
    idle_.put(std::make_unique<FakeWorkspace>(kind, shape, bytes, alive_));
  }
  /// The shape that the one that is found was used for, or -1.
  int take(int kind, int shape) {
    const auto found = idle_.take(kind, shape);
    return found == nullptr ? -1 : found->shape();
  }

  Alive alive_;
  IdleWorkspaces<FakeWorkspace> idle_{kMostBytes};
};

TEST_F(IdleWorkspacesTest, AreFoundByKindAndShape) {
  put(0, 5);
  EXPECT_EQ(take(0, 6), -1);
  EXPECT_EQ(take(1, 5), -1);
  EXPECT_EQ(take(0, 5), 5);
  EXPECT_EQ(take(0, 5), -1);
}

// A large tree that was evaluated once must not keep what is used now from being kept.
TEST_F(IdleWorkspacesTest, TheOnesUnusedTheLongestMakeRoom) {
  put(0, 1, 600);
  put(0, 2, 300);
  put(0, 3, 200);
  EXPECT_EQ(take(0, 1), -1);
  EXPECT_EQ(take(0, 2), 2);
  put(0, 2, 300);
  put(0, 4, 700);
  EXPECT_EQ(take(0, 3), -1);  // unused longer than 2
  EXPECT_EQ(take(0, 2), 2);
}

TEST_F(IdleWorkspacesTest, WhatIsTooLargeForAllOfTheRoomTakesNobodysPlace) {
  put(0, 1, 600);
  put(0, 2, kMostBytes + 1);
  EXPECT_EQ(take(0, 2), -1);
  EXPECT_EQ(take(0, 1), 1);
}

// Texts that are evaluated without a cache, each of another length, must not take the place of
// recorded runs.
TEST_F(IdleWorkspacesTest, ManyShapesOfAKindLeaveTheOtherKindAlone) {
  constexpr int kShapes = static_cast<int>(IdleWorkspaces<FakeWorkspace>::kShapesKept);
  for (int shape = 0; shape < kShapes; ++shape) {
    EXPECT_EQ(take(1, shape), -1);
    put(1, shape);
  }
  EXPECT_EQ(take(0, 1), -1) << "a new one, not one that was used for another shape";
  put(0, 1);
  EXPECT_EQ(take(1, 1000), 0) << "of a kind with many shapes, the one unused the longest";
  EXPECT_EQ(take(0, 1), 1);
}

TEST_F(IdleWorkspacesTest, RandomUseStaysWithinItsBounds) {
  test::for_random_cases(200, [&](Random& random) {
    for (int i = 0; i < 300; ++i) {
      const auto shape = static_cast<int>(random.integer(0, 150));
      const auto kind = static_cast<int>(random.integer(0, 1));
      auto taken = idle_.take(kind, shape);
      if (taken == nullptr || taken->shape() != shape) {
        taken = std::make_unique<FakeWorkspace>(
            kind, shape, static_cast<std::size_t>(random.integer(0, 60)), alive_);
      }
      EXPECT_EQ(taken->cache_use(), kind);
      const FakeWorkspace* const latest = taken.get();
      idle_.put(std::move(taken));
      ASSERT_LE(alive_.count, IdleWorkspaces<FakeWorkspace>::kMost);
      ASSERT_LE(alive_.bytes, kMostBytes);
      taken = idle_.take(kind, shape);
      ASSERT_EQ(taken.get(), latest);
      idle_.put(std::move(taken));
    }
  });
}

}  // namespace
}  // namespace kvcache::inference
