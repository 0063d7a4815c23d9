// What a fused decoder's block of 16 bits has in shared memory, its way to weights and inputs, and
// a warp's sums of them.
#pragma once

#include "kernels/cuda/decoder_block.cuh"

namespace kvcache::kernels {

constexpr int kPieceVectors = 32;  // of 16 bytes, a lane's each
constexpr int kRowVectors = 8;     // of a piece of inputs

/// What a block of a decoder in 16 bits has in static shared memory.
template <int kTokens>
struct FusedDecoderStatic {
  DecoderStaticOf<kTokens> of_any;
  uint4 zero;                                  // the inputs of lanes that have none
  uint4 queries[kMaxGroup * kMaxHeadDim / 8];  // of a head of keys
  uint4 keys[kTokens][kMaxHeadDim / 8];        // of the new tokens that the block's one sees
  uint4 values[kTokens][kMaxHeadDim / 8];
};

/// A warp's weights, piece after piece: a ring of chunks that it fills itself.
template <typename T>
class DecoderWeights {
 public:
  template <typename Static>
  __device__ DecoderWeights(const DecoderKernelArgs<DecoderArgs<T>>& args, unsigned char* dynamic,
                            Static& shared)
      : lane_(static_cast<int>(threadIdx.x) % 32), slots_(args.layout.chunks) {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    const std::int64_t* at =
        args.step.stream_at + static_cast<int>(blockIdx.x) * kDecoderWarps + warp;
    from_ = reinterpret_cast<const unsigned char*>(args.step.stream) + at[0] * kPieceBytes;
    left_ = static_cast<int>(at[1] - at[0]) / kChunkPieces;
    ring_ = dynamic + warp * slots_ * kChunkBytes;
    arrivals_ = shared.arrivals[warp];
  }

  /// By all lanes; the ring fills up.
  __device__ void begin() {
    if (lane_ == 0) {
      for (int slot = 0; slot < slots_; ++slot) {
        arrivals_[slot].initialize();
      }
      for (int slot = 0; slot < slots_; ++slot) {
        fetch(slot);
      }
    }
    __syncwarp();
  }

  /// Waits for the next pieces, and says how many of `wanted` are there, one behind the other.
  __device__ int wait(int wanted) const {
    if (piece_ == 0) {
      arrivals_[slot_].wait(parity_);
    }
    const int left = kChunkPieces - piece_;
    return wanted < left ? wanted : left;
  }

  /// The lane's part of the first of them: eight neighbouring inputs of a column. That of the next
  /// is kPieceVectors further.
  [[nodiscard]] __device__ const uint4* first() const {
    return reinterpret_cast<const uint4*>(ring_ + slot_ * kChunkBytes) + piece_ * kPieceVectors +
           lane_;
  }

  /// So many have been read.
  __device__ void advance(int count, const Loads& loads) {
    piece_ += count;
    if (piece_ == kChunkPieces) {
      piece_ = 0;
      __syncwarp();
      if (lane_ == 0) {
        fetch(slot_, loads);
      }
      if (++slot_ == slots_) {
        slot_ = 0;
        parity_ ^= 1U;
      }
    }
  }

 private:
  /// To where `loads` have been.
  __device__ void fetch(int slot, const Loads& loads = {}) {
    if (left_ > 0) {
      arrivals_[slot].expect(kChunkBytes, loads);
      arrivals_[slot].copy(ring_ + slot * kChunkBytes, from_, kChunkBytes, ReadAgain::no);
      from_ += kChunkBytes;
      --left_;
    }
  }

  int lane_;
  int slots_;
  const unsigned char* from_ = nullptr;  // the next chunk that is fetched
  int left_ = 0;                         // of them
  unsigned char* ring_ = nullptr;
  CopyBarrier* arrivals_ = nullptr;
  int slot_ = 0;
  int piece_ = 0;
  unsigned parity_ = 0;
};

/// Four pairs of inputs as the matrix instruction takes them.
struct InputPairs {
  unsigned high[4];  // rounded
  unsigned low[4];   // what rounding took

  template <typename T>
  __device__ static InputPairs of(const Octet& octet) {
    InputPairs pairs;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 value{octet.values[2 * i], octet.values[2 * i + 1]};
      pairs.high[i] = pair_of<T>(value.x, value.y);
      const float2 rounded = values_of<T>(pairs.high[i]);
      pairs.low[i] = pair_of<T>(value.x - rounded.x, value.y - rounded.y);
    }
    return pairs;
  }
};

/// The inputs of a product in shared memory, of 16 bits, token after token. Rounded ones are row t
/// of the matrix instruction, t being the token, what rounding took from them is row 8 + t, which
/// the same lanes have. A warp writes and reads its own slice only.
template <typename T, int kTokens>
class DecoderInputRows {
 public:
  /// Of eight neighbouring inputs of each token.
  struct Pairs {
    InputPairs of[kTokens];
  };

  /// Rounded inputs only, as the instruction takes them.
  static constexpr int kRoundedVectors = kRowVectors / 2;

  __device__ explicit DecoderInputRows(unsigned char* room)
      : rows_(reinterpret_cast<uint4*>(room)) {}

  /// Calls `take(at, has)` for each eight inputs of the warp's slice, `at` being the first of them;
  /// lanes without any are asked with `has` false. `take` gives them as Pairs. `pieces`: of a
  /// token.
  template <typename Take>
  __device__ void fill(const Share& slice, int pieces, const Take& take) {
    fill_pieces(slice, [&](int piece, bool has) {
      const Pairs pairs = take(piece * kPieceInputs + lane() % 4 * 8, has);
      if (has) {
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
          const InputPairs& of = pairs.of[t];
          uint4* const to = rows_ + (t * pieces + piece) * kRowVectors + lane() % 4;
          to[0] = {of.high[0], of.low[0], of.high[1], of.low[1]};
          to[4] = {of.high[2], of.low[2], of.high[3], of.low[3]};
        }
      }
    });
  }

  /// The same of rounded inputs, of which rounding took nothing.
  template <typename Take>
  __device__ void fill_rounded(const Share& slice, int pieces, const Take& take) {
    fill_pieces(slice, [&](int piece, bool has) {
      const auto rounded = take(piece * kPieceInputs + lane() % 4 * 8, has);
      if (has) {
#pragma unroll
        for (int t = 0; t < kTokens; ++t) {
          rows_[(t * pieces + piece) * kRoundedVectors + lane() % 4] = rounded.of[t];
        }
      }
    });
  }

  /// A piece's inputs of this lane, which is among the four of a token: it has two times 16 bytes,
  /// kRowVectors / 2 apart.
  [[nodiscard]] __device__ const uint4* of_lane(int piece, int pieces) const {
    return rows_ + (token() * pieces + piece) * kRowVectors + lane() % 4;
  }
  [[nodiscard]] __device__ const uint4* rounded_of_lane(int piece, int pieces) const {
    return rows_ + (token() * pieces + piece) * kRoundedVectors + lane() % 4;
  }

 private:
  [[nodiscard]] __device__ static int lane() { return static_cast<int>(threadIdx.x) % 32; }
  [[nodiscard]] __device__ static int token() { return kTokens == 1 ? 0 : lane() / 4; }

  template <typename Work>
  __device__ static void fill_pieces(const Share& slice, const Work& work) {
    const int end = slice.first + slice.count;
#pragma unroll 1
    for (int first = slice.first; first < end; first += kRoundPieces) {
      const int piece = first + lane() / 4;
      work(piece, piece < end);
    }
    __syncwarp();
  }

  uint4* rows_;
};

/// A warp's sums of columns 2i and 2i + 1 of a strip, of token t in lane 4t + i.
struct PieceSums {
  float first[4] = {};
  float second[4] = {};

  template <typename T>
  __device__ void add(const uint4& weight, const uint4& inputs, const uint4& more_inputs) {
    multiply_add<T>(first, {inputs.x, inputs.y, inputs.z, inputs.w}, weight.x, weight.y);
    multiply_add<T>(second, {more_inputs.x, more_inputs.y, more_inputs.z, more_inputs.w}, weight.z,
                    weight.w);
  }
  /// Of rounded inputs.
  template <typename T>
  __device__ void add(const uint4& weight, const uint4& inputs) {
    multiply_add<T>(first, {inputs.x, 0, inputs.y, 0}, weight.x, weight.y);
    multiply_add<T>(second, {inputs.z, 0, inputs.w, 0}, weight.z, weight.w);
  }
  [[nodiscard]] __device__ float2 total() const {
    return {first[0] + second[0] + (first[2] + second[2]),
            first[1] + second[1] + (first[3] + second[3])};
  }
};

}  // namespace kvcache::kernels
