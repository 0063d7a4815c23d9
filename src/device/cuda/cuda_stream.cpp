#include "device/cuda/cuda_stream.hpp"

#include "device/cuda/cuda_error.hpp"

namespace kvcache::device {

CudaStream::CudaStream() {
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}

CudaStream::~CudaStream() { cudaStreamDestroy(stream_); }

void CudaStream::wait() const {
  check_cuda(cudaStreamSynchronize(stream_), "waiting for the work on it");
}

}  // namespace kvcache::device
