#include "report/read_bandwidth.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <thread>
#include <utility>

#include "base/huge_pages.hpp"
#include "device/cpu/cpu_info.hpp"
#include "report/idle.hpp"
#include "report/statistics.hpp"

namespace kvcache::report {
namespace {

using Clock = std::chrono::steady_clock;

struct Shape {
  std::size_t streams;  // places that a thread reads from at once
  bool prefetch;
};

constexpr std::array<Shape, 4> kShapes{{{1, false}, {4, false}, {1, true}, {4, true}}};

std::string shape_name(const Shape& shape) {
  return fmt::format("{} stream{}{}", shape.streams, shape.streams == 1 ? "" : "s",
                     shape.prefetch ? ", prefetch" : "");
}

/// Huge pages of one thread's part. Move-only (RAII).
class Pages {
 public:
  explicit Pages(std::size_t bytes) : bytes_(bytes) {
    // Room to start at a huge page's boundary.
    mapping_ = ::mmap(nullptr, bytes_ + kHugePage, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping_ == MAP_FAILED) {
      throw std::bad_alloc();
    }
    void* aligned = mapping_;
    std::size_t space = bytes_ + kHugePage;
    data_ = static_cast<std::uint64_t*>(std::align(kHugePage, bytes_, aligned, space));
    ask_for_huge_pages(data_, bytes_);
  }
  Pages(Pages&& other) noexcept
      : mapping_(std::exchange(other.mapping_, MAP_FAILED)),
        data_(other.data_),
        bytes_(other.bytes_) {}
  Pages& operator=(Pages&&) = delete;
  ~Pages() {
    if (mapping_ != MAP_FAILED) {
      ::munmap(mapping_, bytes_ + kHugePage);
    }
  }

  [[nodiscard]] std::span<std::uint64_t> words() const noexcept {
    return {data_, bytes_ / sizeof(std::uint64_t)};
  }

 private:
  void* mapping_ = MAP_FAILED;
  std::uint64_t* data_ = nullptr;
  std::size_t bytes_;
};

/// Reads every word once, as `Streams` runs side by side; the result depends on all of them.
template <std::size_t Streams, bool Prefetch>
std::uint64_t read_all(std::span<const std::uint64_t> words) {
  constexpr std::size_t kStep = 32 / Streams;  // words: 256 bytes a round in all
  constexpr std::size_t kAhead = 2048 / sizeof(std::uint64_t);
  const std::size_t length = words.size() / Streams;
  std::array<std::uint64_t, Streams * kStep> sums{};
  for (std::size_t i = 0; i < length; i += kStep) {
    for (std::size_t stream = 0; stream < Streams; ++stream) {
      const std::uint64_t* from = words.data() + stream * length + i;
      if constexpr (Prefetch) {
        for (std::size_t line = 0; line < kStep; line += 64 / sizeof(std::uint64_t)) {
          __builtin_prefetch(from + kAhead + line);
        }
      }
      for (std::size_t k = 0; k < kStep; ++k) {
        sums[stream * kStep + k] ^= from[k];
      }
    }
  }
  std::uint64_t sum = 0;
  for (const std::uint64_t part : sums) {
    sum ^= part;
  }
  return sum;
}

std::uint64_t read_as(const Shape& shape, std::span<const std::uint64_t> words) {
  if (shape.streams == 1) {
    return shape.prefetch ? read_all<1, true>(words) : read_all<1, false>(words);
  }
  return shape.prefetch ? read_all<4, true>(words) : read_all<4, false>(words);
}

/// Where threads wait for each other without sleeping: one that has slept starts late, on a virtual
/// machine by milliseconds.
class Meeting {
 public:
  explicit Meeting(int threads) : threads_(threads) {}

  /// Every thread calls this equally often.
  void wait() {
    const int turn = turn_.load();
    if (arrived_.fetch_add(1) + 1 == threads_) {
      arrived_ = 0;
      turn_ = turn + 1;
    }
    while (turn_.load() == turn) {
      std::this_thread::yield();
    }
  }

 private:
  int threads_;
  std::atomic<int> arrived_{0};
  std::atomic<int> turn_{0};
};

/// Binds the calling thread to a core of its own, where there are as many: the system often starts
/// threads on one core, and takes longer to part them than they need to read everything.
void take_core(const std::vector<int>& cores, std::size_t thread) {
  if (cores.empty()) {
    return;
  }
  cpu_set_t own;
  CPU_ZERO(&own);
  CPU_SET(cores[thread % cores.size()], &own);
  ::sched_setaffinity(0, sizeof(own), &own);  // or wherever the system puts it
}

/// Runs `work(thread)` on `count` threads, each on a core of its own, and waits for them.
template <typename Work>
void on_threads(int count, const Work& work) {
  const std::vector<int> cores = device::usable_cpus();
  std::vector<std::jthread> threads;
  threads.reserve(static_cast<std::size_t>(count));
  for (std::size_t thread = 0; thread < static_cast<std::size_t>(count); ++thread) {
    threads.emplace_back([&work, &cores, thread] {
      take_core(cores, thread);
      work(thread);
    });
  }
}

std::size_t bytes_per_thread(int threads, std::size_t array_bytes) {
  const std::size_t share = array_bytes / static_cast<std::size_t>(threads);
  return std::max(kHugePage, share / kHugePage * kHugePage);
}

}  // namespace

struct ReadBandwidth::Array {
  std::vector<Pages> parts;  // of each thread
};

ReadBandwidth::ReadBandwidth(int threads, std::size_t array_bytes)
    : threads_(std::max(1, threads)),
      thread_bytes_(bytes_per_thread(threads_, array_bytes)),
      array_(std::make_unique<Array>()) {
  for (int thread = 0; thread < threads_; ++thread) {
    array_->parts.emplace_back(thread_bytes_);
  }
  // Written by the thread that reads it, so that it lies in its part of the memory.
  on_threads(threads_, [this](std::size_t thread) {
    std::ranges::fill(array_->parts[thread].words(), thread + 1);
  });
  for (const Shape& shape : kShapes) {
    shapes_.push_back({shape_name(shape), {}});
  }
}

ReadBandwidth::~ReadBandwidth() = default;

void ReadBandwidth::sample() {
  wait_until_idle();
  struct Span {
    Clock::time_point begin;
    Clock::time_point end;
  };
  std::vector<Span> spans(static_cast<std::size_t>(threads_));
  std::atomic<std::uint64_t> sink{0};  // so that the reads cannot be left out
  Meeting meeting(threads_);

  on_threads(threads_, [&](std::size_t thread) {
    const std::span<const std::uint64_t> words = array_->parts[thread].words();
    sink.fetch_xor(read_as(kShapes[0], words), std::memory_order_relaxed);
    for (std::size_t shape = 0; shape < kShapes.size(); ++shape) {
      meeting.wait();
      spans[thread].begin = Clock::now();
      sink.fetch_xor(read_as(kShapes[shape], words), std::memory_order_relaxed);
      spans[thread].end = Clock::now();
      meeting.wait();
      if (thread == 0) {
        const auto begin = std::ranges::min(spans, {}, &Span::begin).begin;
        const auto end = std::ranges::max(spans, {}, &Span::end).end;
        const std::chrono::duration<double> elapsed = end - begin;
        const double bytes = static_cast<double>(thread_bytes_) * threads_;
        shapes_[shape].samples.push_back(bytes / elapsed.count());
      }
    }
  });
}

double BandwidthResult::around(std::size_t sample) const {
  const std::vector<double>& samples = shapes.at(best).samples;
  return 2 / (1 / samples.at(sample) + 1 / samples.at(sample + 1));
}

BandwidthResult ReadBandwidth::result() const {
  BandwidthResult result{.threads = threads_,
                         .array_bytes = thread_bytes_ * static_cast<std::size_t>(threads_),
                         .shapes = shapes_};
  for (std::size_t shape = 0; shape < shapes_.size(); ++shape) {
    const double bandwidth = median(shapes_[shape].samples);
    if (bandwidth > result.bytes_per_second) {
      result.best = shape;
      result.bytes_per_second = bandwidth;
    }
  }
  return result;
}

}  // namespace kvcache::report
