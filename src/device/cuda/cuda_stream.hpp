// The order of work on the GPU.
#pragma once

#include <cuda_runtime_api.h>

#include <mutex>

namespace kvcache::device {

/// The one stream of a model: runs, copies within the cache and ONNX Runtime's own work happen in
/// the order in which they were put in. Whoever puts something in holds the lock meanwhile, because
/// a stream that is being recorded takes everything into the recording.
class CudaStream {
 public:
  /// @throws Error run_failed
  CudaStream();
  CudaStream(const CudaStream&) = delete;
  CudaStream& operator=(const CudaStream&) = delete;
  ~CudaStream();

  [[nodiscard]] std::unique_lock<std::mutex> lock() { return std::unique_lock(mutex_); }
  [[nodiscard]] cudaStream_t get() const noexcept { return stream_; }

  /// Waits for all that was put in.
  /// @throws Error run_failed
  void wait() const;

 private:
  std::mutex mutex_;
  cudaStream_t stream_ = nullptr;
};

}  // namespace kvcache::device
