// Logits and argmax of a fused step. A strip is eight rows of the head's weight, which the copy
// engine brings into one of the block's slots; a warp takes a strip, and then asks for the one that
// comes into the same slot next.
#pragma once

#include <climits>

#include "kernels/cuda/fused_products.cuh"
#include "kernels/cuda/fused_tokens.cuh"
#include "kernels/cuda/logit_order.cuh"

namespace kvcache::kernels {

/// Word by word, so that both stay in registers.
__device__ inline uint4 choose(bool first, const uint4& a, const uint4& b) {
  return {first ? a.x : b.x, first ? a.y : b.y, first ? a.z : b.z, first ? a.w : b.w};
}

template <typename T, typename Shape>
class FusedHead {
 public:
  __device__ FusedHead(const FusedStepArgs<T>& args, unsigned char* slots,
                       const FusedSharedLayout& layout, int kept_strips, FusedShared& shared)
      : args_(args),
        slots_(slots),
        slot_count_(layout.slots),
        kept_strips_(kept_strips),
        shared_(shared),
        mine_(StripShare::of((args.sizes.vocab_size + kStripColumns - 1) / kStripColumns,
                             static_cast<int>(blockIdx.x), static_cast<int>(gridDim.x), 0)) {}

  /// Once, by all warps: a barrier takes its time.
  __device__ void initialize() {
    const int n =
        static_cast<int>(threadIdx.x) / 32 + static_cast<int>(threadIdx.x) % 32 * kFusedWarps;
    if (n < mine_.count) {
      shared_.head_arrivals[n].initialize();
    }
  }

  /// Starts to load the block's n-th strip into its slot, n % slots, where `loads` have been; by
  /// one thread.
  __device__ void fetch(int n, int slot, const Loads& loads = {}) {
    if (n < mine_.count) {
      const int row = (mine_.first + n) * kStripColumns;
      const int rows = min(kStripColumns, args_.sizes.vocab_size - row);
      const auto bytes = static_cast<unsigned>(rows * Shape::kHidden * static_cast<int>(sizeof(T)));
      shared_.head_arrivals[n].expect(bytes, loads);
      shared_.head_arrivals[n].copy(
          slots_ + slot * Shape::kSlotBytes,
          args_.head_weight + static_cast<std::int64_t>(row) * Shape::kHidden, bytes,
          is_kept(n) ? ReadAgain::next_step : ReadAgain::no);
    }
  }

  /// The logits of the block's rows, from two rows of inputs in shared memory; returns the best
  /// of the warp in all its lanes.
  __device__ TopLogit run(const uint4* inputs) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    TopLogit best{INT_MAX, -INFINITY};
    for_each_strip<StripSums, 6>(
        [&](StripSums& sums, const uint4& rows, int piece) {
          sums.add<T>(rows, inputs_of_lane<2>(inputs, Shape::kPieces * 4, piece, lane));
        },
        [&](int first_token, const float2& pair) {
          if (lane < 4) {
            take(first_token + 2 * lane, pair.x, best);
            take(first_token + 2 * lane + 1, pair.y, best);
          }
        });
    return best_of_lanes(best);
  }

  /// The same of several tokens, from rows of inputs as they are in TokensShape; returns each
  /// token's best of the warp, in the four lanes that have it.
  template <typename Rows>
  __device__ TopLogit run_tokens(const uint4* inputs, const FusedTokensInputs& step) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int number = lane / 4;
    const unsigned rows = number < step.count ? step.tokens[number].logits_rows : 0;
    TopLogit best{INT_MAX, -INFINITY};
    for_each_strip<TokenSums, 4>(
        [&](TokenSums& sums, const uint4& weights, int piece) {
          sums.template add<T>(weights, token_inputs<Rows>(inputs, Rows::kRow, piece, lane),
                               token_inputs<Rows>(inputs + Rows::kRows, Rows::kRow, piece, lane));
        },
        [&](int first_token, const float2& pair) {
          const int token = first_token + 2 * (lane % 4);
          for (unsigned left = rows; left != 0; left &= left - 1) {
            T* logits = args_.logits +
                        std::int64_t{__ffs(static_cast<int>(left)) - 1} * args_.sizes.vocab_size;
            take(token, pair.x, best, logits);
            take(token + 1, pair.y, best, logits);
          }
        });
    return best_of_lanes<4>(best);
  }

 private:
  /// Of each of the warp's strips, its rows times what `add` multiplies them with, a piece of
  /// inputs after the other, given to `end` with the first row's token.
  template <typename Sums, int kUnrolled, typename Add, typename End>
  __device__ void for_each_strip(const Add& add, const End& end) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    int slot = static_cast<int>(threadIdx.x) / 32;
#pragma unroll 1
    for (int n = slot; n < mine_.count; n += kFusedWarps) {
      while (slot >= slot_count_) {
        slot -= slot_count_;
      }
      shared_.head_arrivals[n].wait(0);
      // What is behind the last rows of the vocabulary is of another strip, and not looked at.
      const auto* row = reinterpret_cast<const uint4*>(slots_ + slot * Shape::kSlotBytes) +
                        lane / 4 * (Shape::kHidden / 8) + lane % 4;
      // Two neighbouring rows lie on the same banks: every other row takes the second of two pieces
      // first.
      const bool odd = lane / 4 % 2 == 1;
      Sums sums[2];
      Loads loads;
#pragma unroll kUnrolled
      for (int piece = 0; piece < Shape::kPieces; piece += 2) {
        const uint4 now = row[piece * 4 + (odd ? 4 : 0)];
        const uint4 then = row[piece * 4 + (odd ? 0 : 4)];
        loads.add(now);
        loads.add(then);
        add(sums[0], choose(odd, then, now), piece);
        add(sums[1], choose(odd, now, then), piece + 1);
      }
      __syncwarp();
      if (lane == 0) {
        fetch(n + slot_count_, slot, loads);
      }
      const float2 even_pieces = sums[0].total();
      const float2 odd_pieces = sums[1].total();
      end((mine_.first + n) * kStripColumns,
          float2{even_pieces.x + odd_pieces.x, even_pieces.y + odd_pieces.y});
      slot += kFusedWarps;
    }
    __syncwarp();
  }

  /// Of the strips that are fetched when all else is done, some stay in the second-level cache from
  /// step to step: evenly spread, so that memory and cache bring their parts side by side.
  [[nodiscard]] __device__ bool is_kept(int n) const {
    const int behind = n - slot_count_;
    const int all = mine_.count - slot_count_;
    return behind >= 0 && behind * kept_strips_ / all != (behind + 1) * kept_strips_ / all;
  }

  __device__ void take(int token, float logit, TopLogit& best) {
    take(token, logit, best, args_.logits);
  }
  __device__ void take(int token, float logit, TopLogit& best, T* logits) {
    if (token < args_.sizes.vocab_size) {
      const T rounded = from_float<T>(logit);
      logits[token] = rounded;
      const TopLogit candidate{token, to_float(rounded)};
      best = comes_before(candidate, best) ? candidate : best;
    }
  }

  const FusedStepArgs<T>& args_;
  unsigned char* slots_;
  int slot_count_;
  int kept_strips_;
  FusedShared& shared_;
  StripShare mine_;
};

}  // namespace kvcache::kernels
