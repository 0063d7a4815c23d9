#include "blocks.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <atomic>
#include <csetjmp>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <thread>
#include <vector>

thread_local uint3 threadIdx;
thread_local uint3 blockIdx;
thread_local dim3 gridDim;
thread_local dim3 blockDim;

namespace kvcache::emulation {
namespace {

constexpr std::size_t kStackBytes = std::size_t{256} << 10U;
constexpr std::size_t kMostBytes = 64;  // that a lane gives at once
constexpr int kBarriers = 16;           // of a block

thread_local char origin;
alignas(128) thread_local unsigned char dynamic[kSharedBytes];

/// Who waits for a number of others.
struct Meeting {
  int come = 0;
  unsigned held = 0;  // meetings until now

  /// Waits until `count` have come; the last of them calls `all_are_there` first.
  template <typename Work>
  void wait(int count, const Work& all_are_there) {
    const unsigned meeting = held;
    if (++come == count) {
      all_are_there();
      come = 0;
      ++held;
    } else {
      while (held == meeting) {
        yield();
      }
    }
  }
};

/// What lanes of a warp give each other.
struct Exchange {
  Meeting meeting;
  alignas(16) std::byte given[kLanes * kMostBytes];
  alignas(16) std::byte taken[kLanes * kMostBytes];
};

/// Blocks that wait for each other and write to each other's shared memory.
struct Cluster {
  explicit Cluster(unsigned blocks) : origins(blocks) {}

  std::vector<char*> origins;     // of the blocks' shared memory
  std::atomic<unsigned> come{0};  // lanes, ever
};

struct Lane {
  std::jmp_buf here;
  ucontext_t beginning;
  unsigned arrivals = 0;  // at the cluster's barrier
  bool has_begun = false;
  bool has_ended = false;
};

class Block {
 public:
  Block(const std::function<void()>& kernel, const Launch& launch, unsigned number,
        Cluster& cluster)
      : kernel_(kernel),
        cluster_(cluster),
        lanes_(launch.block.x),
        left_(static_cast<int>(launch.block.x)) {
    const dim3& grid = launch.grid;
    gridDim = grid;
    blockDim = launch.block;
    blockIdx = {number % grid.x, number / grid.x % grid.y, number / grid.x / grid.y};
    const std::size_t bytes = lanes_.size() * kStackBytes;
    void* const stacks = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED) {
      throw std::bad_alloc();
    }
    stacks_ = {static_cast<char*>(stacks), Unmap{bytes}};
    exchanges_.resize((lanes_.size() + kLanes - 1) / kLanes);
    cluster_.origins[blockIdx.z] = &origin;
  }

  void run() {
    if (setjmp(end_) == 0) {
      take_turn(0);
    }
  }

  void yield() {
    constexpr int kRoundsBeforeOthers = 8;  // threads of the host
    if (++yields_ % (kRoundsBeforeOthers * lanes_.size()) == 0) {
      sched_yield();
    }
    if (setjmp(lanes_[current_].here) == 0) {
      take_turn(next());
    }
  }

  Meeting& barrier(int number) { return barriers_[number]; }
  void arrive_at_cluster() {
    ++lanes_[current_].arrivals;
    ++cluster_.come;
  }
  void wait_for_cluster() {
    const std::size_t all = lanes_.size() * cluster_.origins.size();
    while (cluster_.come < lanes_[current_].arrivals * all) {
      yield();
    }
  }
  [[nodiscard]] const Cluster& cluster() const { return cluster_; }
  Exchange& exchange(unsigned mask) {
    std::unique_ptr<Exchange>& exchange = exchanges_[threadIdx.x / kLanes][mask];
    if (exchange == nullptr) {
      exchange = std::make_unique<Exchange>();
    }
    return *exchange;
  }
  unsigned count_clock() { return clock_ += kCycles; }

 private:
  static constexpr unsigned kCycles = 40;  // that a look at the clock takes

  struct Unmap {
    std::size_t bytes;
    void operator()(char* stacks) const { munmap(stacks, bytes); }
  };

  static void begin();

  [[nodiscard]] std::size_t next() const {
    std::size_t lane = current_;
    do {
      lane = lane + 1 == lanes_.size() ? 0 : lane + 1;
    } while (lanes_[lane].has_ended);
    return lane;
  }

  [[noreturn]] void take_turn(std::size_t number) {
    current_ = number;
    threadIdx = {static_cast<unsigned>(number), 0, 0};
    Lane& lane = lanes_[number];
    if (lane.has_begun) {
      std::longjmp(lane.here, 1);
    }
    lane.has_begun = true;
    getcontext(&lane.beginning);
    lane.beginning.uc_stack.ss_sp = stacks_.get() + number * kStackBytes;
    lane.beginning.uc_stack.ss_size = kStackBytes;
    makecontext(&lane.beginning, &Block::begin, 0);
    setcontext(&lane.beginning);
    std::abort();  // not reached
  }

  void end_lane() {
    lanes_[current_].has_ended = true;
    if (--left_ == 0) {
      std::longjmp(end_, 1);
    }
    take_turn(next());
  }

  const std::function<void()>& kernel_;
  Cluster& cluster_;
  std::vector<Lane> lanes_;
  std::unique_ptr<char, Unmap> stacks_;
  std::vector<std::map<unsigned, std::unique_ptr<Exchange>>> exchanges_;  // of a warp, by masks
  Meeting barriers_[kBarriers];
  std::jmp_buf end_;
  std::size_t current_ = 0;
  int left_;
  std::uint64_t yields_ = 0;
  unsigned clock_ = 0;
};

thread_local Block* block = nullptr;  // that the thread is

void Block::begin() {
  block->kernel_();
  block->end_lane();
}

void run_block(const std::function<void()>& kernel, const Launch& launch, unsigned number,
               Cluster& cluster) {
  Block own(kernel, launch, number, cluster);
  block = &own;
  own.run();
  block = nullptr;
}

}  // namespace

void run(const Launch& launch, bool together, const std::function<void()>& kernel) {
  const unsigned clusters = launch.grid.x * launch.grid.y;
  std::vector<std::unique_ptr<Cluster>> of_threads;
  std::vector<std::thread> threads;
  const auto wait_for_threads = [&] {
    for (std::thread& thread : threads) {
      thread.join();
    }
    threads.clear();
    of_threads.clear();
  };
  for (unsigned number = 0; number < clusters; ++number) {
    Cluster& cluster = *of_threads.emplace_back(std::make_unique<Cluster>(launch.grid.z));
    if (!together && launch.grid.z == 1) {
      run_block(kernel, launch, number, cluster);
      continue;
    }
    for (unsigned z = 0; z < launch.grid.z; ++z) {
      threads.emplace_back(
          [&, of_block = number + z * clusters] { run_block(kernel, launch, of_block, cluster); });
    }
    if (!together) {
      wait_for_threads();
    }
  }
  wait_for_threads();
}

void yield() { block->yield(); }

void wait_at_barrier(int number, int count) {
  block->barrier(number).wait(count, [] {});
}

void arrive_at_cluster() { block->arrive_at_cluster(); }

void wait_for_cluster() { block->wait_for_cluster(); }

void* in_block(const void* own, unsigned rank) {
  return block->cluster().origins[rank] + (static_cast<const char*>(own) - &origin);
}

void gather(unsigned mask, const void* own, std::size_t bytes, void* all) {
  Exchange& exchange = block->exchange(mask);
  std::memcpy(exchange.given + threadIdx.x % kLanes * bytes, own, bytes);
  exchange.meeting.wait(__builtin_popcount(mask),
                        [&] { std::memcpy(exchange.taken, exchange.given, kLanes * bytes); });
  std::memcpy(all, exchange.taken, kLanes * bytes);
}

unsigned clock() {
  yield();
  return block->count_clock();
}

unsigned char* dynamic_memory() { return dynamic; }

char* shared_origin() { return &origin; }

}  // namespace kvcache::emulation
