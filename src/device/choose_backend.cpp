#include <fmt/format.h>

#include <cstdlib>
#include <string_view>

#include "base/throw_error.hpp"
#include "device/backend.hpp"
#include "device/cpu/cpu_backend.hpp"
#ifdef KVCACHE_USE_CUDA
#include "device/cuda/cuda_backend.hpp"
#endif

namespace kvcache::device {
namespace {

bool cpu_is_forced() {
  const char* value = std::getenv("TRIGO_FORCE_CPU");
  return value != nullptr && std::string_view(value) == "1";
}

/// CUDA's backend, or null and the reason.
std::shared_ptr<Backend> find_cuda([[maybe_unused]] const BackendOptions& options,
                                   std::string& why_not) {
  if (cpu_is_forced()) {
    why_not = "TRIGO_FORCE_CPU=1 forbids it; unset it";
    return nullptr;
  }
  if (!options.only_cpu.empty()) {
    why_not = options.only_cpu;
    return nullptr;
  }
#ifdef KVCACHE_USE_CUDA
  return find_cuda_backend(options, why_not);
#else
  why_not = "not in this build; build with -DUSE_CUDA=ON";
  return nullptr;
#endif
}

}  // namespace

BackendChoice choose_backend(const BackendOptions& options) {
  BackendChoice choice;
  if (options.required == Device::cpu) {
    choice.why_not_cuda = "require_device is cpu";
  } else {
    choice.backend = find_cuda(options, choice.why_not_cuda);
  }
  if (!choice.backend) {
    if (options.required == Device::cuda) {
      throw_error(ErrorCode::device_unavailable, "require_device is cuda, which cannot be used: {}",
                  choice.why_not_cuda);
    }
    if (!options.only_cuda.empty()) {
      throw_error(ErrorCode::device_unavailable, "{}; cuda cannot be used here: {}",
                  options.only_cuda, choice.why_not_cuda);
    }
    choice.backend = std::make_shared<CpuBackend>(options);
  }
  return choice;
}

}  // namespace kvcache::device
