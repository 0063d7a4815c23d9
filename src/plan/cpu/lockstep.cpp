#include "plan/cpu/lockstep.hpp"

#include "base/spin_wait.hpp"

namespace kvcache::plan {
namespace {

// A share's word: the number of the loop, and how many of its tasks are taken.
constexpr std::uint64_t kLoop = std::uint64_t{1} << 24;

constexpr std::size_t kLine = 64;
constexpr std::size_t kLinesPerLook = 4;
// Of each piece of memory: what comes in the microseconds that a wait takes.
constexpr std::size_t kMostFetched = std::size_t{32} << 10;

/// Fetches what is upcoming for a member line by line.
class Fetching {
 public:
  Fetching(std::span<const Upcoming> upcoming, int member, int members)
      : upcoming_(upcoming),
        member_(static_cast<std::size_t>(member)),
        members_(static_cast<std::size_t>(members)) {}

  void fetch_some() noexcept {
    for (std::size_t line = 0; line < kLinesPerLook && !upcoming_.empty(); ++line) {
      const auto [memory, shared] = upcoming_.front();
      const std::size_t first = shared ? memory.size() * member_ / members_ : 0;
      const std::size_t end = shared ? memory.size() * (member_ + 1) / members_ : memory.size();
      if (first + at_ >= end || at_ >= kMostFetched) {
        upcoming_ = upcoming_.subspan(1);
        at_ = 0;
        continue;
      }
      constexpr int kSecondLevel = 2;
      __builtin_prefetch(memory.data() + first + at_, 0, kSecondLevel);
      at_ += kLine;
    }
  }

 private:
  std::span<const Upcoming> upcoming_;
  std::size_t member_;
  std::size_t members_;
  std::size_t at_ = 0;
};

}  // namespace

Lockstep::Lockstep(int members)
    : members_(members), claimed_(std::make_unique<Count[]>(static_cast<std::size_t>(members))) {}

void Lockstep::begin() noexcept {
  for (int member = 0; member < members_; ++member) {
    claimed_[static_cast<std::size_t>(member)].value.store(0, std::memory_order_relaxed);
  }
  done_.value.store(0, std::memory_order_relaxed);
  failed_.store(Failure::none, std::memory_order_relaxed);
  failure_ = nullptr;
}

void Lockstep::fail(const std::exception_ptr& failure) noexcept {
  auto none = Failure::none;
  if (failed_.compare_exchange_strong(none, Failure::first)) {
    failure_ = failure;
    failed_ = Failure::told;
  }
}

void LockstepFor::run(std::int64_t count, const void* task,
                      void (*call)(const void* task, std::int64_t i)) const {
  ++loop_;
  tasks_ += static_cast<std::uint64_t>(count);
  try {
    std::int64_t mine = 0;
    for (int other = 0; other < shared_.members_; ++other) {
      mine += do_share((member_ + other) % shared_.members_, count, task, call);
    }
    if (mine > 0) {
      shared_.done_.value.fetch_add(static_cast<std::uint64_t>(mine), std::memory_order_acq_rel);
    }
  } catch (...) {
    shared_.fail(std::current_exception());
    throw;
  }
  wait();
}

/// Does tasks of a member's share until none is left; how many.
std::int64_t LockstepFor::do_share(int share, std::int64_t count, const void* task,
                                   void (*call)(const void* task, std::int64_t i)) const {
  const std::int64_t first = count * share / shared_.members_;
  const std::int64_t size = count * (share + 1) / shared_.members_ - first;
  std::atomic<std::uint64_t>& claimed = shared_.claimed_[static_cast<std::size_t>(share)].value;
  std::int64_t done = 0;
  std::uint64_t word = claimed.load(std::memory_order_relaxed);
  while (true) {
    const std::uint64_t at_loop = word / kLoop;
    // A word of an earlier loop: nobody has taken any of this one. Of a later loop: this one is
    // over.
    const auto taken = at_loop < loop_ ? 0 : static_cast<std::int64_t>(word % kLoop);
    if (at_loop > loop_ || taken >= size) {
      return done;
    }
    const std::uint64_t next = loop_ * kLoop + static_cast<std::uint64_t>(taken) + 1;
    if (claimed.compare_exchange_weak(word, next, std::memory_order_relaxed)) {
      call(task, first + taken);
      ++done;
      word = claimed.load(std::memory_order_relaxed);
    }
  }
}

void LockstepFor::wait() const {
  Fetching fetching(upcoming_, member_, shared_.members_);
  for (SpinWait waiting; shared_.done_.value.load(std::memory_order_acquire) < tasks_;) {
    if (shared_.failed_.load(std::memory_order_acquire) == Lockstep::Failure::told) {
      std::rethrow_exception(shared_.failure_);
    }
    fetching.fetch_some();
    waiting.pause();
  }
}

}  // namespace kvcache::plan
