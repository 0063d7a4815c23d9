// What is asked about a run's logits and answered where they are: a few bytes come back in place of
// the rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include "device/cuda/cuda_buffer.hpp"
#include "device/cuda/cuda_stream.hpp"
#include "kernels/cuda/top_logits_cuda.hpp"
#include "kvcache/constraint.hpp"
#include "kvcache/logits.hpp"

namespace kvcache::device {

/// Any number of threads may ask: the questions about one run are answered one after the other,
/// and who waits for an answer does not hold the stream.
class LogitQuestions {
 public:
  /// Of rows of `vocab_size` elements of `type`, on this stream, which outlives them.
  LogitQuestions(DataType type, std::size_t vocab_size, CudaStream& stream)
      : type_(type), vocab_size_(vocab_size), stream_(stream) {}

  /// The k tokens with the largest logits of a row, largest first; of those that are allowed, of
  /// which there are k at least. Null: all.
  /// @throws Error run_failed, out_of_memory; the same of those below
  [[nodiscard]] std::vector<TokenScore> top_k(std::size_t k, const std::byte* row,
                                              const TokenMask* allowed);

  /// log Σ exp(logit / temperature) over a row, over the tokens that are allowed, of which
  /// `largest` is the largest logit; where that is infinite, it.
  [[nodiscard]] double log_sum_exp(double temperature, const std::byte* row,
                                   const TokenMask* allowed, float largest);

  /// found[i]: of tokens[i], its logit less log Σ exp(logit) over its row of logits
  /// [.., vocab_size], whose largest is that of `best`.
  void log_probabilities(std::span<const RowToken> tokens, const std::byte* logits,
                         std::span<const kernels::TopLogit> best, std::span<float> found);

 private:
  template <typename Enqueue>
  void ask(const char* what, const TokenMask* allowed, const Enqueue& enqueue);

  DataType type_;
  std::size_t vocab_size_;
  CudaStream& stream_;
  std::mutex asking_;                     // who holds it has what follows
  CudaBuffer<BufferPlace::host> tokens_;  // TopLogit
  CudaBuffer<BufferPlace::host> rows_;    // AskedRow
  CudaBuffer<BufferPlace::host> mask_;    // of the tokens that are allowed
  CudaBuffer<BufferPlace::gpu> mask_on_device_;
  std::span<const std::uint32_t> mask_there_;  // of mask_, what the device has
  CudaEvent answered_;
};

}  // namespace kvcache::device
