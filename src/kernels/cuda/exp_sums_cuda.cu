#include "kernels/cuda/exp_sums_cuda.hpp"
#include "kernels/cuda/shared_row.cuh"

namespace kvcache::kernels {
namespace {

constexpr int kWarps = kRowThreads / 32;

/// Grid: rows, 1, blocks that share a row.
template <typename T>
__global__ void __launch_bounds__(kRowThreads)
    exp_sums_kernel(const T* logits, std::int64_t vocab_size, const unsigned* allowed,
                    double temperature, AskedRow* rows, TopLogit* tokens) {
  __shared__ AskedRow asked;
  __shared__ double of_warps[kWarps];
  __shared__ double of_blocks[kMaxCluster];  // the first block's are written by all
  arrive_at_cluster_early();                 // all its blocks run before any writes to another
  if (threadIdx.x == 0) {
    asked = rows[blockIdx.x];  // over the bus
  }
  __syncthreads();
  wait_for_previous_kernel();
  const T* const row = logits + asked.row * vocab_size;
  const double largest = asked.largest;
  double own = 0;
  for_share_of_row(row, vocab_size, [&](const TopLogit& token) {
    if (is_allowed(allowed, token.token)) {
      own += exp((static_cast<double>(token.logit) - largest) / temperature);
    }
  });
  own = sum_of_lanes_in_double(own);
  if (threadIdx.x % 32 == 0) {
    of_warps[threadIdx.x / 32] = own;
  }
  __syncthreads();
  wait_for_cluster();
  if (threadIdx.x < 32) {
    own = sum_of_lanes_in_double(threadIdx.x < kWarps ? of_warps[threadIdx.x] : 0.0);
    if (threadIdx.x == 0) {
      in_first_block(of_blocks)[blockIdx.z] = own;
    }
  }
  __syncwarp();
  arrive_at_cluster();
  wait_for_cluster();
  if (blockIdx.z != 0) {
    return;
  }
  if (threadIdx.x == 0) {
    double all = 0;
    for (unsigned block = 0; block < gridDim.z; ++block) {
      all += of_blocks[block];
    }
    rows[blockIdx.x].sum = all;
  }
  for (int i = static_cast<int>(threadIdx.x); i < asked.count; i += kRowThreads) {
    TopLogit& token = tokens[asked.first + i];
    token.logit = to_float(row[token.token]);
  }
}

}  // namespace

template <typename T>
cudaError_t exp_sums_cuda(const T* logits, std::int64_t vocab_size, const unsigned* allowed,
                          double temperature, std::int64_t num_rows, AskedRow* rows,
                          TopLogit* tokens, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(num_rows), 1, blocks_sharing_a_row(num_rows));
  return launch(exp_sums_kernel<T>, grid, kRowThreads, 0, stream, logits, vocab_size, allowed,
                temperature, rows, tokens);
}

template cudaError_t exp_sums_cuda(const float*, std::int64_t, const unsigned*, double,
                                   std::int64_t, AskedRow*, TopLogit*, cudaStream_t);
template cudaError_t exp_sums_cuda(const __half*, std::int64_t, const unsigned*, double,
                                   std::int64_t, AskedRow*, TopLogit*, cudaStream_t);
template cudaError_t exp_sums_cuda(const __nv_bfloat16*, std::int64_t, const unsigned*, double,
                                   std::int64_t, AskedRow*, TopLogit*, cudaStream_t);

}  // namespace kvcache::kernels
