// What CUDA sources find in nvcc, and the PTX instructions of emulate.py, on the host.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#include "blocks.hpp"

#define EMULATED__CUDA_ARCH__ 900
#define EMULATED__CUDA_ARCH_FEAT_SM90_ALL
#define __grid_constant__
#define __noinline__ __attribute__((noinline))
#undef __launch_bounds__
#define __launch_bounds__(...)
#undef __shared__
#define __shared__ thread_local  // a block is a thread

namespace kvcache::emulation {

[[noreturn]] inline void not_emulated(const char* what) {
  std::fprintf(stderr, "not emulated: %s\n", what);
  std::abort();
}

inline int lane() { return static_cast<int>(threadIdx.x) % kLanes; }

template <typename T>
struct OfLanes {
  T of[kLanes];
};
template <typename T>
OfLanes<T> gather(unsigned mask, const T& own) {
  OfLanes<T> all;
  gather(mask, &own, sizeof(T), all.of);
  return all;
}

// Memory that other blocks read and write.

template <typename Word>
void store(Word* to, Word word) {
  std::atomic_ref<Word>(*to).store(word, std::memory_order_release);
}
inline void store(void* to, std::uint64_t word) { store(static_cast<std::uint64_t*>(to), word); }
inline void store(unsigned* to, unsigned first, unsigned second) {
  store(to, first);
  store(to + 1, second);
}
template <typename... More>
void load(const unsigned* from, unsigned& to, More&... more) {
  to = std::atomic_ref(*const_cast<unsigned*>(from)).load(std::memory_order_acquire);
  if constexpr (sizeof...(more) > 0) {
    load(from + 1, more...);
  }
}

inline void nothing() {}

// Copies into shared memory, and the barriers that count their bytes (PTX ISA, "mbarrier").

inline unsigned shared_address(const void* of) {
  return static_cast<unsigned>(static_cast<const char*>(of) - shared_origin());
}
inline void* at_shared(unsigned address) {
  return shared_origin() + static_cast<std::int32_t>(address);
}

struct MemoryBarrier {
  std::int32_t bytes;     // on their way
  std::uint8_t arrivals;  // of a phase
  std::uint8_t expected;  // of this one, still
  std::uint8_t parity;    // of this one
  std::uint8_t unused;

  /// In shared memory, where other blocks may count bytes, too.
  static std::atomic_ref<std::uint64_t> at(void* place) {
    return std::atomic_ref<std::uint64_t>(*static_cast<std::uint64_t*>(place));
  }
  static void count(void* place, std::int32_t bytes, int arrivals) {
    const std::atomic_ref<std::uint64_t> state = at(place);
    std::uint64_t before = state.load();
    MemoryBarrier barrier{};
    do {
      barrier = std::bit_cast<MemoryBarrier>(before);
      barrier.bytes += bytes;
      barrier.expected = static_cast<std::uint8_t>(barrier.expected - arrivals);
      if (barrier.expected == 0 && barrier.bytes == 0) {
        barrier.expected = barrier.arrivals;
        barrier.parity ^= 1U;
      }
    } while (!state.compare_exchange_weak(before, std::bit_cast<std::uint64_t>(barrier)));
  }
};
static_assert(sizeof(MemoryBarrier) == sizeof(std::uint64_t));

inline void make_barrier(unsigned at, unsigned arrivals) {
  const auto count = static_cast<std::uint8_t>(arrivals);
  MemoryBarrier::at(at_shared(at))
      .store(std::bit_cast<std::uint64_t>(MemoryBarrier{0, count, count, 0, 0}));
}
inline void arrive_and_expect(unsigned at, unsigned bytes) {
  MemoryBarrier::count(at_shared(at), static_cast<std::int32_t>(bytes), 1);
}
inline void arrive(unsigned at) { arrive_and_expect(at, 0); }
/// Whether a phase of this parity is through.
inline void look(unsigned& is_through, unsigned at, unsigned parity) {
  const auto barrier = std::bit_cast<MemoryBarrier>(MemoryBarrier::at(at_shared(at)).load());
  is_through = barrier.parity != parity % 2 ? 1 : 0;
}
inline void look_later(unsigned& is_through, unsigned at, unsigned parity) {
  yield();
  look(is_through, at, parity);
}
inline void copy(unsigned to, const void* from, unsigned bytes, unsigned barrier) {
  if (bytes % 16 != 0 || reinterpret_cast<std::uintptr_t>(from) % 16 != 0 ||
      reinterpret_cast<std::uintptr_t>(at_shared(to)) % 16 != 0) {
    not_emulated("a copy of what is not a multiple of 16 bytes");
  }
  std::memcpy(at_shared(to), from, bytes);
  MemoryBarrier::count(at_shared(barrier), -static_cast<std::int32_t>(bytes), 0);
}
/// To another block's shared memory, and its barrier.
inline void send(unsigned to, unsigned barrier, unsigned first, unsigned second, unsigned rank) {
  const unsigned words[2]{first, second};
  std::memcpy(in_block(at_shared(to), rank), words, sizeof words);
  MemoryBarrier::count(in_block(at_shared(barrier), rank), -static_cast<std::int32_t>(sizeof words),
                       0);
}
/// 16 bytes, of which `bytes` are another place's and the others zeros.
inline void copy_or_clear(unsigned to, const void* from, unsigned bytes) {
  constexpr std::size_t kBytes = 16;
  if (reinterpret_cast<std::uintptr_t>(from) % kBytes != 0 ||
      reinterpret_cast<std::uintptr_t>(at_shared(to)) % kBytes != 0) {
    not_emulated("a copy between places that are no multiples of 16 bytes");
  }
  std::memset(at_shared(to), 0, kBytes);
  std::memcpy(at_shared(to), from, bytes);
}

// Arithmetic. Results that are no numbers have one pattern of bits, as a GPU's.

inline float canonical(float x) { return std::isnan(x) ? std::bit_cast<float>(0x7FFFFFFFU) : x; }

inline void raise(float& largest, float x) {
  largest = std::isnan(largest) || std::isnan(x) ? canonical(NAN) : std::max(largest, x);
}

inline void exp2_flushed(float& result, float x) {
  result = std::exp2(x);
  result = std::fpclassify(result) == FP_SUBNORMAL ? 0.0F : canonical(result);
}

/// One of the two 16-bit elements of a word.
template <typename T>
float element_of(unsigned word, int i) {
  const auto bits = static_cast<std::uint16_t>(word >> 16 * i);
  if constexpr (std::is_same_v<T, __half>) {
    return __half2float(std::bit_cast<T>(__half_raw{bits}));
  } else {
    return std::bit_cast<float>(static_cast<unsigned>(bits) << 16U);
  }
}

/// A lane's part of two factors: `a` of rows lane / 4 and 8 further, `b` of column lane / 4.
struct Factors {
  unsigned a[4];
  unsigned b[2];
};

/// Sums of rows lane / 4 and 8 further, columns 2 · (lane % 4) and the next, of `depth` products
/// each: of_row(factors, word, k) · of_column(factors, word, k), of the lanes that have element k.
template <typename Sum, typename OfRow, typename OfColumn>
void multiply_add_factors(Sum* const (&sums)[4], const Factors& own, int depth, const OfRow& of_row,
                          const OfColumn& of_column) {
  const OfLanes<Factors> all = gather(~0U, own);
  for (int i = 0; i < 4; ++i) {
    const int column = lane() % 4 * 2 + i % 2;
    Sum sum = 0;
    for (int k = 0; k < depth; ++k) {
      const int of_depth = k % (depth / 2) / (depth / 8);  // the lane of four that has it
      sum += of_row(all.of[lane() / 4 * 4 + of_depth], i / 2 + 2 * (k / (depth / 2)), k) *
             of_column(all.of[column * 4 + of_depth], k / (depth / 2), k);
    }
    *sums[i] += sum;
  }
}

/// m16n8k16 (PTX ISA, "Matrix Fragments for mma.m16n8k16").
template <typename T>
void multiply_add(float& c0, float& c1, float& c2, float& c3, const unsigned (&a)[4], unsigned b0,
                  unsigned b1) {
  multiply_add_factors<float>(
      {&c0, &c1, &c2, &c3}, {{a[0], a[1], a[2], a[3]}, {b0, b1}}, 16,
      [](const Factors& row, int word, int k) { return element_of<T>(row.a[word], k % 2); },
      [](const Factors& column, int word, int k) { return element_of<T>(column.b[word], k % 2); });
  for (float* sum : {&c0, &c1, &c2, &c3}) {
    *sum = canonical(*sum);
  }
}

/// m16n8k32, bytes without a sign times bytes with one.
inline void multiply_add_bytes(int& c0, int& c1, int& c2, int& c3, const unsigned (&a)[4],
                               unsigned b0, unsigned b1) {
  multiply_add_factors<int>(
      {&c0, &c1, &c2, &c3}, {{a[0], a[1], a[2], a[3]}, {b0, b1}}, 32,
      [](const Factors& row, int word, int k) {
        return static_cast<int>(row.a[word] >> 8 * (k % 4) & 0xFFU);
      },
      [](const Factors& column, int word, int k) {
        return static_cast<int>(static_cast<std::int8_t>(column.b[word] >> 8 * (k % 4)));
      });
}

/// m16n8k8 of float32, of which the tensor cores take 11 bits.
inline void multiply_add_tf32(float& c0, float& c1, float& c2, float& c3, const unsigned (&a)[4],
                              unsigned b0, unsigned b1) {
  const auto taken = [](unsigned bits) { return std::bit_cast<float>(bits & 0xFFFFE000U); };
  const OfLanes<Factors> all = gather(~0U, Factors{{a[0], a[1], a[2], a[3]}, {b0, b1}});
  float* const sums[4]{&c0, &c1, &c2, &c3};
  for (int i = 0; i < 4; ++i) {
    const int column = lane() % 4 * 2 + i % 2;
    float sum = 0;
    for (int k = 0; k < 8; ++k) {
      sum += taken(all.of[lane() / 4 * 4 + k % 4].a[i / 2 + 2 * (k / 4)]) *
             taken(all.of[column * 4 + k % 4].b[k / 4]);
    }
    *sums[i] = canonical(*sums[i] + sum);
  }
}

/// Four 8×8 matrices of 16-bit elements, whose rows the lanes have the addresses of, a quarter of
/// them each.
inline void load_matrices(bool transposed, unsigned row, unsigned& m0, unsigned& m1, unsigned& m2,
                          unsigned& m3) {
  const OfLanes<unsigned> rows = gather(~0U, row);
  unsigned* const matrices[4]{&m0, &m1, &m2, &m3};
  for (int m = 0; m < 4; ++m) {
    const auto at = [&](int of_row, int column) {
      std::uint16_t element = 0;
      std::memcpy(&element,
                  static_cast<const char*>(at_shared(rows.of[8 * m + of_row])) + 2 * column,
                  sizeof element);
      return std::uint32_t{element};
    };
    const int first = lane() % 4 * 2;
    const int own = lane() / 4;
    *matrices[m] = transposed ? at(first, own) | at(first + 1, own) << 16U
                              : at(own, first) | at(own, first + 1) << 16U;
  }
}

/// Of an 8×8 matrix, a row in four lanes, its transpose.
inline void transpose(unsigned& result, unsigned own) {
  const OfLanes<unsigned> all = gather(~0U, own);
  const auto at = [&](int row, int column) {
    return all.of[4 * row + column / 2] >> 16 * (column % 2) & 0xFFFFU;
  };
  const int column = lane() % 4 * 2;
  result = at(column, lane() / 4) | at(column + 1, lane() / 4) << 16U;
}

template <typename... Parameters, typename... Arguments>
cudaError_t launch(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                   const Arguments&... arguments) {
  bool together = false;
  for (unsigned i = 0; i < config->numAttrs; ++i) {
    together = together || config->attrs[i].id == cudaLaunchAttributeCooperative;
  }
  run({config->gridDim, config->blockDim}, together, [&] { kernel(Parameters(arguments)...); });
  return cudaSuccess;
}

}  // namespace kvcache::emulation

// CUDA's functions, with CUDA's names.

using std::isnan;

inline int min(int a, int b) { return std::min(a, b); }
inline unsigned min(unsigned a, unsigned b) { return std::min(a, b); }
inline int max(int a, int b) { return std::max(a, b); }
inline unsigned max(unsigned a, unsigned b) { return std::max(a, b); }
inline std::int64_t min(std::int64_t a, std::int64_t b) { return std::min(a, b); }
inline std::int64_t max(std::int64_t a, std::int64_t b) { return std::max(a, b); }

template <typename T>
T __shfl_sync(unsigned mask, T own, int from) {
  return kvcache::emulation::gather(mask, own).of[from % kvcache::emulation::kLanes];
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T own, int offset) {
  return __shfl_sync(mask, own, kvcache::emulation::lane() ^ offset);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T own, int offset) {
  const int from = kvcache::emulation::lane() - offset;
  const T other = __shfl_sync(mask, own, from < 0 ? 0 : from);
  return from >= 0 ? other : own;
}
template <typename T>
T __shfl_down_sync(unsigned mask, T own, int offset) {
  const int from = kvcache::emulation::lane() + offset;
  const T other = __shfl_sync(mask, own, from);
  return from < kvcache::emulation::kLanes && (mask >> from & 1U) != 0 ? other : own;
}
inline unsigned __ballot_sync(unsigned mask, bool own) {
  const auto all = kvcache::emulation::gather(mask, own);
  unsigned lanes = 0;
  for (int lane = 0; lane < kvcache::emulation::kLanes; ++lane) {
    lanes |= (mask >> lane & 1U) != 0 && all.of[lane] ? 1U << lane : 0;
  }
  return lanes;
}
inline bool __all_sync(unsigned mask, bool own) { return __ballot_sync(mask, own) == mask; }
inline bool __any_sync(unsigned mask, bool own) { return __ballot_sync(mask, own) != 0; }
inline void __syncwarp(unsigned mask = ~0U) { (void)kvcache::emulation::gather(mask, true); }
inline void __syncthreads() {
  kvcache::emulation::wait_at_barrier(0, static_cast<int>(blockDim.x));
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned own) {
  const auto all = kvcache::emulation::gather(mask, own);
  return *std::max_element(std::begin(all.of), std::end(all.of));
}
inline int __reduce_add_sync(unsigned mask, int own) {
  int sum = 0;
  for (const int one : kvcache::emulation::gather(mask, own).of) {
    sum += one;
  }
  return sum;
}
inline unsigned atomicAdd(unsigned* to, unsigned what) {
  return std::atomic_ref(*to).fetch_add(what);
}
inline void __nanosleep(unsigned /*nanoseconds*/) { kvcache::emulation::yield(); }

template <typename T>
T __ldg(const T* from) {
  return *from;
}
template <typename T>
T __ldcs(const T* from) {
  return *from;
}
inline unsigned __cvta_generic_to_shared(const void* of) {
  return kvcache::emulation::shared_address(of);
}
template <typename T>
T* __cluster_map_shared_rank(T* own, unsigned rank) {
  return static_cast<T*>(kvcache::emulation::in_block(own, rank));
}
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* /*kernel*/, cudaFuncAttribute /*which*/, int /*value*/) {
  return cudaSuccess;
}

inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __fdividef(float a, float b) { return kvcache::emulation::canonical(a / b); }
inline float __expf(float x) { return kvcache::emulation::canonical(std::exp(x)); }
inline float rsqrtf(float x) { return kvcache::emulation::canonical(1 / std::sqrt(x)); }
inline int __float2int_rn(float x) {
  constexpr float kLimit = 2147483648.0F;
  if (std::isnan(x)) {
    return 0;
  }
  return x >= kLimit ? INT32_MAX : x < -kLimit ? INT32_MIN : static_cast<int>(std::nearbyint(x));
}
inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 4; ++i) {
    sum += static_cast<std::int8_t>(a >> 8 * i) * static_cast<std::int8_t>(b >> 8 * i);
  }
  return sum;
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>(std::uint64_t{a} * b >> 32U);
}
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __popc(unsigned x) { return std::popcount(x); }
