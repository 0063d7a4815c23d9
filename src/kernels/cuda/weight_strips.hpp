// How the fused kernels cut weights into strips and share them.
#pragma once

namespace kvcache::kernels {

inline constexpr int kStripColumns = 8;  // of a weight: what a block takes at least
inline constexpr int kPieceInputs = 32;  // of a strip: what a pair of matrix instructions takes
inline constexpr int kPieceBytes = kPieceInputs * kStripColumns * 2;

/// Neighbouring things that one of several takes: as even a share as there is.
struct Share {
  int first;
  int count;

  static constexpr Share of(int all, int one, int several) {
    const int first = all * one / several;
    return {first, all * (one + 1) / several - first};
  }
  static constexpr int most(int all, int several) { return (all + several - 1) / several; }
};

}  // namespace kvcache::kernels
