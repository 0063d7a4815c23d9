#include "device/cuda/cuda_stream.hpp"

#include "device/cuda/cuda_error.hpp"

namespace kvcache::device {

CudaEvent::CudaEvent() {
  check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "creating an event");
}

CudaEvent::~CudaEvent() { cudaEventDestroy(event_); }

CudaStream::CudaStream() {
  check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
}

CudaStream::~CudaStream() { cudaStreamDestroy(stream_); }

void CudaStream::wait() const {
  check_cuda(cudaStreamSynchronize(stream_), "waiting for the work on it");
}

void CudaStream::mark(const CudaEvent& event) const {
  check_cuda(cudaEventRecord(event.get(), stream_), "marking the end of a run");
}

void CudaStream::wait(const CudaEvent& event) {
  check_cuda(cudaEventSynchronize(event.get()), "waiting for the work on it");
}

}  // namespace kvcache::device
