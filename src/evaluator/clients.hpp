// Whether every registered client waits.
#pragma once

#include <cstddef>

#include "evaluator/task.hpp"

namespace kvcache::evaluator {

/// Counts clients and those of them that wait. The scheduler's, under its lock.
class Clients {
 public:
  void add(ClientState& client) noexcept {
    client.registered = true;
    ++registered_;
  }

  void remove(ClientState& client) noexcept {
    registered_ -= client.registered ? 1 : 0;
    waiting_ -= client.registered && client.waits() ? 1 : 0;
    client.registered = false;
  }

  /// A thread begins to wait for a task.
  void block(Task& task) noexcept {
    ++task.blocked;
    change(*task.client, [](ClientState& client) { ++client.blocked; });
  }

  /// It gave up.
  void unblock(Task& task) noexcept {
    --task.blocked;
    change(*task.client, [](ClientState& client) { --client.blocked; });
  }

  void set_idle(ClientState& client, bool idle) noexcept {
    change(client, [idle](ClientState& changed) { changed.idle = idle; });
  }

  /// A task is done: its threads go on, if they do not know it yet.
  void release(Task& task) noexcept {
    change(*task.client, [&](ClientState& client) {
      client.blocked -= task.blocked;
      client.idle = false;
    });
    task.blocked = 0;
  }

  [[nodiscard]] std::size_t registered() const noexcept { return registered_; }
  [[nodiscard]] bool all_wait() const noexcept {
    return registered_ > 0 && waiting_ == registered_;
  }

 private:
  template <typename Change>
  void change(ClientState& client, const Change& apply) noexcept {
    const bool waited = client.waits();
    apply(client);
    if (client.registered && waited != client.waits()) {
      waiting_ = client.waits() ? waiting_ + 1 : waiting_ - 1;
    }
  }

  std::size_t registered_ = 0;
  std::size_t waiting_ = 0;
};

}  // namespace kvcache::evaluator
