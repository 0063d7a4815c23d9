#include "report/read_bandwidth.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <thread>
#include <utility>

#include "huge_pages.hpp"
#include "report/environment.hpp"
#include "report/statistics.hpp"

namespace kvcache::report {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kSmallestArray = std::size_t{256} << 20;
constexpr std::size_t kCacheMultiple = 8;

struct Shape {
  std::size_t streams;  // places that a thread reads from at once
  bool prefetch;
  bool huge_pages;
};

constexpr std::array<Shape, 8> kShapes{{{1, false, false},
                                        {4, false, false},
                                        {1, true, false},
                                        {4, true, false},
                                        {1, false, true},
                                        {4, false, true},
                                        {1, true, true},
                                        {4, true, true}}};

std::string shape_name(const Shape& shape) {
  return fmt::format("{} stream{}{}{}", shape.streams, shape.streams == 1 ? "" : "s",
                     shape.prefetch ? ", prefetch" : "", shape.huge_pages ? ", huge pages" : "");
}

/// Pages of one thread's array. Move-only (RAII).
class Pages {
 public:
  Pages(std::size_t bytes, bool huge) : bytes_(bytes) {
    // Room to start at a huge page's boundary.
    mapping_ = ::mmap(nullptr, bytes_ + kHugePage, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping_ == MAP_FAILED) {
      throw std::bad_alloc();
    }
    void* aligned = mapping_;
    std::size_t space = bytes_ + kHugePage;
    data_ = static_cast<std::uint64_t*>(std::align(kHugePage, bytes_, aligned, space));
#ifdef MADV_HUGEPAGE
    ::madvise(data_, bytes_, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);  // a hint
#endif
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

/// Runs `work(thread)` on `count` threads and waits for them.
template <typename Work>
void on_threads(int count, const Work& work) {
  std::vector<std::jthread> threads;
  threads.reserve(static_cast<std::size_t>(count));
  for (int thread = 0; thread < count; ++thread) {
    threads.emplace_back([&work, thread] { work(static_cast<std::size_t>(thread)); });
  }
}

std::size_t bytes_per_thread(int threads, std::size_t array_bytes) {
  if (array_bytes == 0) {
    array_bytes = std::max(kSmallestArray, kCacheMultiple * last_level_cache_bytes());
  }
  const std::size_t share = array_bytes / static_cast<std::size_t>(threads);
  return std::max(kHugePage, share / kHugePage * kHugePage);
}

}  // namespace

struct ReadBandwidth::Arrays {
  std::vector<Pages> small_pages;  // of each thread
  std::vector<Pages> huge_pages;

  [[nodiscard]] std::span<std::uint64_t> words(const Shape& shape, std::size_t thread) const {
    return (shape.huge_pages ? huge_pages : small_pages)[thread].words();
  }
};

ReadBandwidth::ReadBandwidth(int threads, std::size_t array_bytes)
    : threads_(std::max(1, threads)),
      thread_bytes_(bytes_per_thread(threads_, array_bytes)),
      arrays_(std::make_unique<Arrays>()) {
  for (int thread = 0; thread < threads_; ++thread) {
    arrays_->small_pages.emplace_back(thread_bytes_, false);
    arrays_->huge_pages.emplace_back(thread_bytes_, true);
  }
  // Written by the thread that reads them, so that they lie in its part of the memory.
  on_threads(threads_, [this](std::size_t thread) {
    for (const Pages* pages : {&arrays_->small_pages[thread], &arrays_->huge_pages[thread]}) {
      std::ranges::fill(pages->words(), thread + 1);
    }
  });
  for (const Shape& shape : kShapes) {
    shapes_.push_back({shape_name(shape), {}});
  }
}

ReadBandwidth::~ReadBandwidth() = default;

void ReadBandwidth::sample(int passes) {
  struct Span {
    Clock::time_point begin;
    Clock::time_point end;
  };
  std::vector<Span> spans(static_cast<std::size_t>(threads_));
  std::atomic<std::uint64_t> sink{0};  // so that the reads cannot be left out
  std::barrier together(threads_);

  on_threads(threads_, [&](std::size_t thread) {
    for (std::size_t shape = 0; shape < kShapes.size(); ++shape) {
      const std::span<const std::uint64_t> words = arrays_->words(kShapes[shape], thread);
      for (int pass = 0; pass < passes; ++pass) {
        together.arrive_and_wait();
        spans[thread].begin = Clock::now();
        sink.fetch_xor(read_as(kShapes[shape], words), std::memory_order_relaxed);
        spans[thread].end = Clock::now();
        together.arrive_and_wait();
        if (thread == 0) {
          const auto begin = std::ranges::min(spans, {}, &Span::begin).begin;
          const auto end = std::ranges::max(spans, {}, &Span::end).end;
          const std::chrono::duration<double> elapsed = end - begin;
          const double bytes = static_cast<double>(thread_bytes_) * threads_;
          shapes_[shape].samples.push_back(bytes / elapsed.count());
        }
      }
    }
  });
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
