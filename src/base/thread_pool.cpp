#include "base/thread_pool.hpp"

#include <chrono>
#include <utility>

#include "base/spin_wait.hpp"

namespace kvcache {
namespace {

// Job::state: the use's number, two flags, how many are inside.
constexpr std::uint64_t kInside = (std::uint64_t{1} << 30) - 1;
constexpr std::uint64_t kInUse = std::uint64_t{1} << 30;
constexpr std::uint64_t kOpen = std::uint64_t{1} << 31;
constexpr std::uint64_t kNextUse = std::uint64_t{1} << 32;

constexpr std::uint64_t use_of(std::uint64_t state) { return state / kNextUse; }

constexpr std::chrono::milliseconds kAwake{1};
constexpr int kPollsPerClock = 64;

}  // namespace

ThreadPool::ThreadPool(int size) {
  threads_.reserve(static_cast<std::size_t>(size) - 1);
  try {
    for (int member = 1; member < size; ++member) {
      threads_.emplace_back([this, member] { serve(member); });
    }
  } catch (...) {
    ends_ = true;  // before those that were started are waited for
    wake();
    throw;
  }
}

ThreadPool::~ThreadPool() {
  ends_ = true;
  wake();
}

void ThreadPool::run(std::int64_t count, const void* task,
                     void (*call)(const void* task, std::int64_t i)) const {
  if (count <= 1 || threads_.empty()) {
    for (std::int64_t i = 0; i < count; ++i) {
      call(task, i);
    }
    return;
  }
  std::atomic<std::int64_t> next{0};
  together([&](int /*member*/) {
    for (std::int64_t i = next.fetch_add(1, std::memory_order_relaxed); i < count;
         i = next.fetch_add(1, std::memory_order_relaxed)) {
      call(task, i);
    }
  });
}

void ThreadPool::together(const void* work, Call call) const {
  Job* const job = threads_.empty() ? nullptr : take_job();
  if (job == nullptr) {
    call(work, 0);
    return;
  }
  job->work = work;
  job->call = call;
  job->state.fetch_or(kOpen);
  wake();
  try {
    call(work, 0);
  } catch (...) {
    const std::scoped_lock lock(job->mutex);
    if (!job->failure) {
      job->failure = std::current_exception();
    }
  }
  finish(*job);
}

ThreadPool::Job* ThreadPool::take_job() const noexcept {
  for (Job& job : jobs_) {
    std::uint64_t state = job.state.load(std::memory_order_relaxed);
    if ((state & kInUse) == 0 &&
        job.state.compare_exchange_strong(state, state | kInUse, std::memory_order_acquire)) {
      return &job;
    }
  }
  return nullptr;
}

void ThreadPool::wake() const noexcept {
  // Whoever goes to sleep says so before its last poll.
  if (sleeping_.load() > 0 || ends_) {
    calls_.fetch_add(1);
    calls_.notify_all();
  }
}

void ThreadPool::finish(Job& job) {
  std::uint64_t state = job.state.fetch_and(~kOpen);
  for (SpinWait waiting; (state & kInside) != 0;
       state = job.state.load(std::memory_order_acquire)) {
    waiting.pause();
  }
  const std::exception_ptr failure = std::exchange(job.failure, nullptr);
  job.state.store((use_of(state) + 1) * kNextUse, std::memory_order_release);
  if (failure) {
    std::rethrow_exception(failure);
  }
}

void ThreadPool::serve(int member) {
  using Clock = std::chrono::steady_clock;
  Uses helped;
  helped.fill(~std::uint64_t{0});
  while (!ends_.load(std::memory_order_relaxed)) {
    SpinWait waiting;
    Clock::time_point sleeps{};
    while (!help(member, helped) && !ends_.load(std::memory_order_relaxed)) {
      waiting.pause();
      if (waiting.polls() % kPollsPerClock != 0) {
        continue;
      }
      const auto now = Clock::now();
      if (sleeps == Clock::time_point{}) {
        sleeps = now + kAwake;
      } else if (now >= sleeps) {
        sleeping_.fetch_add(1);
        const std::uint32_t calls = calls_;
        if (!is_needed(helped) && !ends_) {
          calls_.wait(calls);
        }
        sleeping_.fetch_sub(1);
        break;
      }
    }
  }
}

bool ThreadPool::help(int member, Uses& helped) {
  for (std::size_t i = 0; i < kJobs; ++i) {
    // Not all begin with the same job: callers at the same time share the pool of threads.
    const std::size_t chosen = (i + static_cast<std::size_t>(member)) % kJobs;
    Job& job = jobs_[chosen];
    std::uint64_t state = job.state.load(std::memory_order_relaxed);
    while ((state & kOpen) != 0 && use_of(state) != helped[chosen]) {
      if (!job.state.compare_exchange_weak(state, state + 1, std::memory_order_acquire)) {
        continue;
      }
      try {
        job.call(job.work, member);
      } catch (...) {
        const std::scoped_lock lock(job.mutex);
        if (!job.failure) {
          job.failure = std::current_exception();
        }
      }
      helped[chosen] = use_of(state);
      job.state.fetch_sub(1, std::memory_order_release);
      return true;
    }
  }
  return false;
}

bool ThreadPool::is_needed(const Uses& helped) const noexcept {
  for (std::size_t i = 0; i < kJobs; ++i) {
    const std::uint64_t state = jobs_[i].state;
    if ((state & kOpen) != 0 && use_of(state) != helped[i]) {
      return true;
    }
  }
  return false;
}

}  // namespace kvcache
