#include "evaluator/ready_queue.hpp"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "support/random_cases.hpp"

namespace kvcache::evaluator {
namespace {

using test::Random;

/// Tasks that stand in a queue and are never run.
class ReadyQueueTest : public testing::Test {
 protected:
  std::shared_ptr<ClientState> client() { return std::make_shared<ClientState>(); }

  Task& add(const std::shared_ptr<ClientState>& client, std::size_t tokens = 1,
            Priority priority = Priority::normal) {
    tasks_.push_back(std::make_unique<Task>(EvaluateRequest{}, RequestOptions{}, client));
    Task& task = *tasks_.back();
    task.number = tasks_.size();
    task.tokens = tokens;
    task.priority = priority;
    queue_.insert(task);
    return task;
  }

  std::vector<Task*> take(std::size_t rows, std::size_t tokens = 1000,
                          std::uint64_t passed_by = 1000) {
    return queue_.take({.rows = rows, .tokens = tokens, .passed_by = passed_by});
  }

  ReadyQueue queue_;
  std::deque<std::unique_ptr<Task>> tasks_;
};

using Taken = std::vector<Task*>;

TEST_F(ReadyQueueTest, HigherPrioritiesFirstAndOldestFirstAmongEqualOnes) {
  const auto one = client();
  Task& low = add(one, 1, Priority::low);
  Task& normal = add(one);
  Task& next_normal = add(one);
  Task& high = add(one, 1, Priority::high);
  EXPECT_EQ(take(2), (Taken{&high, &normal}));
  EXPECT_EQ(take(5), (Taken{&next_normal, &low}));
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(queue_.tokens(), 0U);
}

TEST_F(ReadyQueueTest, ClientsTakeTurns) {
  const auto greedy = client();
  const auto modest = client();
  for (int i = 0; i < 10; ++i) {
    add(greedy);
  }
  Task& only = add(modest);
  const Taken first = take(2);
  EXPECT_TRUE(first[0] == &only || first[1] == &only);
}

/// Equal shares of tokens, not of requests; and nobody saves up turns by having had nothing to do.
TEST_F(ReadyQueueTest, BusyClientsGetEqualSharesOfTokens) {
  test::for_random_cases(20, [this](Random& random) {
    std::vector<std::shared_ptr<ClientState>> clients;
    std::map<const ClientState*, std::size_t> served;
    const auto late = client();
    for (int i = 0; i < 4; ++i) {
      clients.push_back(client());
      served[clients.back().get()] = 0;
    }
    const auto refill = [&] {
      for (std::size_t i = 0; i < clients.size(); ++i) {
        while (clients[i]->ready[1].size() < 8) {  // each has requests of its own size
          add(clients[i], i + 1);
        }
      }
    };
    const auto serve = [&](int runs) {
      for (int run = 0; run < runs; ++run) {
        refill();
        for (const Task* task : take(static_cast<std::size_t>(random.integer(1, 6)))) {
          served[task->client.get()] += task->tokens;
        }
      }
    };
    serve(200);
    clients.push_back(late);
    const std::map<const ClientState*, std::size_t> before = served;
    serve(200);
    std::size_t least = SIZE_MAX;
    std::size_t most = 0;
    for (const auto& own : clients) {
      const auto had = before.find(own.get());
      const std::size_t got = served[own.get()] - (had == before.end() ? 0 : had->second);
      least = std::min(least, got);
      most = std::max(most, got);
    }
    EXPECT_LE(most - least, 10U) << least << " and " << most << " tokens";
    while (!queue_.empty()) {
      (void)take(100);
    }
  });
}

/// However many of a higher priority come, and however small they are.
TEST_F(ReadyQueueTest, NoneIsPassedByMoreOftenThanAllowed) {
  test::for_random_cases(50, [this](Random& random) {
    const auto one = client();
    const auto other = client();
    const auto passed_by = static_cast<std::uint64_t>(random.integer(0, 5));
    Task& victim = add(one, static_cast<std::size_t>(random.integer(1, 100)), Priority::low);
    std::uint64_t runs = 0;
    while (victim.stage == Stage::ready) {
      for (int i = 0; i < 10; ++i) {
        add(random.chance(0.5) ? one : other, static_cast<std::size_t>(random.integer(1, 5)),
            Priority::high);
      }
      (void)take(4, 20, passed_by);
      ASSERT_LE(runs++, passed_by);
    }
    while (!queue_.empty()) {
      (void)take(100);
    }
  });
}

TEST_F(ReadyQueueTest, LimitsHoldButTheFirstIsTakenWhateverItsSize) {
  const auto one = client();
  Task& large = add(one, 50);
  Task& small = add(one, 4);
  Task& next = add(one, 4);
  EXPECT_EQ(take(10, 8), (Taken{&large}));
  EXPECT_EQ(take(10, 7), (Taken{&small}));
  EXPECT_EQ(take(10, 8), (Taken{&next}));
}

/// A run is of one model.
TEST_F(ReadyQueueTest, TasksOfOtherEnginesWaitForTheNextRun) {
  const auto one = client();
  const auto other = client();
  Task& first = add(one);
  Task& second = add(other);
  // Two engines that are never looked at.
  const auto engine = std::make_shared<int>(0);
  second.engine = {engine, reinterpret_cast<inference::Engine*>(engine.get())};
  EXPECT_EQ(take(10), (Taken{&first}));
  EXPECT_EQ(take(10), (Taken{&second}));
}

TEST_F(ReadyQueueTest, WhatIsPutOffKeepsItsAge) {
  const auto one = client();
  Task& first = add(one);
  Task& second = add(one);
  EXPECT_EQ(take(1), (Taken{&first}));
  queue_.insert_again(first);
  EXPECT_EQ(&queue_.oldest(), &first);
  EXPECT_EQ(take(2), (Taken{&first, &second}));
}

TEST_F(ReadyQueueTest, AmongClientsServedEquallyTheOldestTaskGoesFirst) {
  std::vector<std::shared_ptr<ClientState>> clients;
  Taken all;
  for (int i = 0; i < 9; ++i) {
    clients.push_back(client());
    all.push_back(&add(clients.back()));
  }
  for (std::size_t first = 0; first < all.size(); first += 3) {
    EXPECT_EQ(take(3), Taken(all.begin() + static_cast<std::ptrdiff_t>(first),
                             all.begin() + static_cast<std::ptrdiff_t>(first) + 3));
  }
}

/// Whoever takes over a place in the queue has its age, too.
TEST_F(ReadyQueueTest, ATaskThatReplacesAnotherIsPassedByNoMoreOften) {
  const auto one = client();
  Task& low = add(one, 1, Priority::low);
  for (int run = 0; run < 3; ++run) {
    add(one, 1, Priority::high);
    EXPECT_NE(take(1, 1000, 3).front(), &low);
  }
  Task& heir = add(one, 1, Priority::low);
  queue_.erase(heir);
  queue_.replace(low, heir);
  add(one, 1, Priority::high);
  EXPECT_EQ(&queue_.oldest(), &heir);
  EXPECT_EQ(queue_.rows(), 2U);
  EXPECT_EQ(take(1, 1000, 3), (Taken{&heir}));
}

TEST_F(ReadyQueueTest, ARaisedTaskGoesFirst) {
  const auto one = client();
  Task& first = add(one);
  Task& second = add(one, 1, Priority::low);
  queue_.raise(second, Priority::high);
  EXPECT_EQ(take(2), (Taken{&second, &first}));
}

}  // namespace
}  // namespace kvcache::evaluator
