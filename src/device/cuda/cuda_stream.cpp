#include "device/cuda/cuda_stream.hpp"

#include <algorithm>

#include "device/cuda/cuda_error.hpp"

namespace kvcache::device {

CudaEvent::CudaEvent() {
  check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "creating an event");
}

CudaEvent::~CudaEvent() { cudaEventDestroy(event_); }

CudaStream::CudaStream() {
  const auto create = [](cudaStream_t& stream) {
    check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  };
  create(stream_);
  for (OfLane& lane : lanes_) {
    create(lane.stream);
  }
}

CudaStream::~CudaStream() {
  for (const OfLane& lane : lanes_) {
    cudaStreamDestroy(lane.stream);
  }
  cudaStreamDestroy(stream_);
}

void CudaStream::take_lane(std::optional<LaneLease>& lease) {
  const auto fewest = std::ranges::min_element(
      lanes_, {}, [](const OfLane& lane) { return lane.runs.load(std::memory_order_relaxed); });
  mark(behind_);
  check_cuda(cudaStreamWaitEvent(fewest->stream, behind_.get()), "putting streams into order");
  const int number = 1 + static_cast<int>(fewest - lanes_.begin());
  lease.emplace(fewest->runs, plan::Lane{fewest->stream, number});
}

void CudaStream::wait() const {
  check_cuda(cudaStreamSynchronize(stream_), "waiting for the work on it");
}

void CudaStream::settle() const noexcept {
  cudaStreamSynchronize(stream_);
  for (const OfLane& lane : lanes_) {
    cudaStreamSynchronize(lane.stream);
  }
}

void CudaStream::mark(const CudaEvent& event) const {
  check_cuda(cudaEventRecord(event.get(), stream_), "marking the end of a run");
}

void CudaStream::wait(const CudaEvent& event) {
  check_cuda(cudaEventSynchronize(event.get()), "waiting for the work on it");
}

}  // namespace kvcache::device
