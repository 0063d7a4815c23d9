// Loops that several threads come to, each on its own way through the same work.
//
// Between two loops of a decode step lies too little work to hand it over: each thread does it for
// itself, and meets the others again in the next loop.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>

#include "base/parallel_for.hpp"

namespace kvcache::plan {

/// What the members of a pool of threads share on their way. The way is a sequence of loops, the
/// same for all.
class Lockstep {
 public:
  /// For members in [0, members).
  explicit Lockstep(int members);

  /// Before a way begins, and after everybody has left the one before.
  void begin() noexcept;

 private:
  friend class LockstepFor;
  enum class Failure { none, first, told };

  void fail(const std::exception_ptr& failure) noexcept;

  struct alignas(64) Count {
    std::atomic<std::uint64_t> value{0};
  };

  int members_;
  std::unique_ptr<Count[]>
      claimed_;  // of each member's share: the loop's number, tasks taken of it
  Count done_;   // tasks, of all loops since the beginning
  std::atomic<Failure> failed_{Failure::none};
  std::exception_ptr failure_;  // of the first member that failed, once told
};

/// Memory that is about to be read: by each member all of it, or its share.
struct Upcoming {
  std::span<const std::byte> memory;
  bool shared = false;
};

/// The loops of one member on one way. A loop's tasks are done by whoever comes, each once, and a
/// member leaves it when all of them are done; whoever comes late or never holds up nobody. What
/// lies between loops every member does by itself, reading what the tasks of earlier loops wrote,
/// which nothing on the way may overwrite. Where a task throws, all members throw the same.
class LockstepFor final : public ParallelFor {
 public:
  LockstepFor(Lockstep& shared, int member) noexcept : shared_(shared), member_(member) {}

  [[nodiscard]] const ParallelFor& alone() const noexcept override { return alone_; }
  [[nodiscard]] bool keeps_neighbours() const noexcept override { return true; }

  /// What to fetch into the second-level cache while others are waited for, from here on. Must
  /// stay until the next call.
  void prefetch_while_waiting(std::span<const Upcoming> upcoming) noexcept { upcoming_ = upcoming; }

 private:
  void run(std::int64_t count, const void* task,
           void (*call)(const void* task, std::int64_t i)) const override;
  std::int64_t do_share(int share, std::int64_t count, const void* task,
                        void (*call)(const void* task, std::int64_t i)) const;
  void wait() const;

  Lockstep& shared_;
  int member_;
  Alone alone_;
  std::span<const Upcoming> upcoming_;
  // run() is const because it is to those who loop.
  mutable std::uint64_t loop_ = 0;
  mutable std::uint64_t tasks_ = 0;  // of the loops until here, this one included
};

}  // namespace kvcache::plan
