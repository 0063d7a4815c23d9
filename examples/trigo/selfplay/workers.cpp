#include "selfplay/workers.hpp"

#include <algorithm>
#include <atomic>
#include <exception>
#include <map>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace trigo {
namespace {

/// Hands games on in their order.
class InOrder {
 public:
  InOrder(std::size_t first, const std::function<void(PlayedGame&&)>& finished)
      : finished_(finished), next_(first) {}

  void add(PlayedGame game) {
    const std::lock_guard lock(mutex_);
    const std::size_t number = game.number;
    waiting_.emplace(number, std::move(game));
    while (!waiting_.empty() && waiting_.begin()->first == next_) {
      finished_(std::move(waiting_.begin()->second));
      waiting_.erase(waiting_.begin());
      ++next_;
    }
  }

 private:
  const std::function<void(PlayedGame&&)>& finished_;
  std::mutex mutex_;
  std::map<std::size_t, PlayedGame> waiting_;
  std::size_t next_;
};

}  // namespace

void play_games(GameNumbers games, std::size_t threads,
                const std::function<std::function<PlayedGame(std::size_t)>()>& make_worker,
                const std::function<void(PlayedGame&&)>& finished) {
  InOrder in_order(games.first, finished);
  const std::size_t end = games.first + games.count;
  std::atomic<std::size_t> next{games.first};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      const auto play = make_worker();
      for (std::size_t number = next++; number < end; number = next++) {
        in_order.add(play(number));
      }
    } catch (...) {
      next = end;
      const std::lock_guard lock(mutex);
      if (failure == nullptr) {
        failure = std::current_exception();
      }
    }
  };
  std::vector<std::thread> others;
  try {
    for (std::size_t i = 1; i < std::min(threads, games.count); ++i) {
      others.emplace_back(work);
    }
  } catch (...) {
    next = end;
    for (std::thread& other : others) {
      other.join();
    }
    throw;
  }
  work();
  for (std::thread& other : others) {
    other.join();
  }
  if (failure != nullptr) {
    std::rethrow_exception(failure);
  }
}

}  // namespace trigo
