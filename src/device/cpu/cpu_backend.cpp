#include "device/cpu/cpu_backend.hpp"

#include <fmt/format.h>

#include "device/cpu/cpu_info.hpp"
#include "device/cpu/cpu_step.hpp"
#include "device/cpu/reserved_memory.hpp"

namespace kvcache::device {

CpuBackend::CpuBackend(const BackendOptions& options)
    : num_threads_(options.num_threads),
      threads_(options.all_nodes_ours ? std::make_unique<ThreadPool>(options.num_threads)
                                      : nullptr),
      ort_threads_(std::make_unique<SessionThreads>(threads_ != nullptr ? 1 : num_threads_)),
      captures_steps_(threads_ != nullptr && options.captures_runs && options.fuses_steps),
      log_(options.log) {}

std::string CpuBackend::description() const {
  return fmt::format("cpu: {}, {} thread{}", cpu_name(), num_threads_,
                     num_threads_ == 1 ? "" : "s");
}

void CpuBackend::add_to(Ort::SessionOptions& options) const {  // to ONNX Runtime's default
  ort_threads_->add_to(options);
}

Ort::MemoryInfo CpuBackend::memory_info() const {
  return Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
}

std::size_t CpuBackend::pool_alignment() const noexcept {
  // Pools start on pages of their own, so that each can be backed on its own; huge pages where the
  // system has them.
  return std::size_t{2} << 20;
}

std::unique_ptr<PoolMemory> CpuBackend::reserve(std::size_t bytes) {
  return std::make_unique<ReservedMemory>(bytes);
}

std::unique_ptr<Step> CpuBackend::new_step(const StepModel& model) {
  return std::make_unique<CpuStep>(model, captures_steps_ ? threads_.get() : nullptr, log_);
}

}  // namespace kvcache::device
