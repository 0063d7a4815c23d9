// Matrix products in tiles, as Intel's AMX has them: Intel 64 and IA-32 Architectures Software
// Developer's Manual, volume 1, chapter 18.
#pragma once

#include <cstdint>

#include "hwy/base.h"

namespace kvcache::kernels {

/// Whether the processor has tiles of int8 and bfloat16 and the system lets this process use them,
/// which Linux has to be asked for.
bool has_amx();

/// For tests of what is done without; true at first.
void allow_amx(bool allowed);

#if HWY_ARCH_X86_64

/// Eight tiles of up to 16 rows of 64 bytes: 0 to 3 hold sums, 16 rows of 16 numbers; 4 and 5 rows
/// of the left matrix; 6 and 7 the right one, whose row holds what four neighbouring bytes of a
/// left row (two bfloat16) are multiplied with, for each of 16 columns.
///
/// The instructions stand here as text: the compiler's intrinsics need options that would let it
/// use AMX in all of a file, and GCC 12's tell it neither what they read nor what they write.
class AmxTiles {
 public:
  static constexpr std::int64_t kRows = 16;
  static constexpr std::int64_t kRowBytes = 64;

  /// Until this ends, the calling thread's left tiles have rows of `depth_bytes`, a multiple of 4
  /// up to 64.
  explicit AmxTiles(std::int64_t depth_bytes) {
    struct alignas(64) {
      std::uint8_t palette = 1;
      std::uint8_t unused[15] = {};
      std::uint16_t row_bytes[16] = {};
      std::uint8_t rows[16] = {};
    } shape;
    for (int tile = 0; tile < 8; ++tile) {
      const bool is_left = tile == 4 || tile == 5;
      shape.row_bytes[tile] = static_cast<std::uint16_t>(is_left ? depth_bytes : kRowBytes);
      shape.rows[tile] = static_cast<std::uint8_t>(tile >= 6 ? depth_bytes / 4 : kRows);
    }
    asm volatile("ldtilecfg %0" : : "m"(shape));
  }
  AmxTiles(const AmxTiles&) = delete;
  AmxTiles& operator=(const AmxTiles&) = delete;
  ~AmxTiles() { asm volatile("tilerelease"); }

  template <int kTile>
  HWY_INLINE static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }
  /// Rows are `stride` bytes apart.
  template <int kTile>
  HWY_INLINE static void load(const void* from, std::int64_t stride) {
    asm volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(kTile), "r"(from), "r"(stride) : "memory");
  }
  template <int kTile>
  HWY_INLINE static void store(void* to, std::int64_t stride) {
    asm volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(kTile), "r"(to), "r"(stride) : "memory");
  }
  /// Sums of int32 += signed bytes on the left · unsigned bytes on the right.
  template <int kSums, int kLeft, int kRight>
  HWY_INLINE static void add_int8() {
    asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kLeft), "i"(kRight));
  }
  /// Sums of float32 += products of bfloat16; the smallest numbers count as 0.
  template <int kSums, int kLeft, int kRight>
  HWY_INLINE static void add_bfloat16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kLeft), "i"(kRight));
  }
};

#endif

}  // namespace kvcache::kernels
