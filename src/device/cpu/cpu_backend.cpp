#include "device/cpu/cpu_backend.hpp"

#include <fmt/format.h>

#include "device/cpu/cpu_info.hpp"
#include "device/cpu/cpu_step.hpp"
#include "device/cpu/reserved_memory.hpp"

namespace kvcache::device {

std::string CpuBackend::description() const {
  return fmt::format("cpu: {}, {} thread{}", cpu_name(), num_threads_,
                     num_threads_ == 1 ? "" : "s");
}

void CpuBackend::add_to(Ort::SessionOptions& /*options*/) const {}  // ONNX Runtime's default

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

std::unique_ptr<Step> CpuBackend::new_step(DataType type, std::size_t vocab_size) {
  return std::make_unique<CpuStep>(type, vocab_size);
}

}  // namespace kvcache::device
