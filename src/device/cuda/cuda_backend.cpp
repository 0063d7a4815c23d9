#include "device/cuda/cuda_backend.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "device/cuda/cuda_error.hpp"
#include "device/cuda/cuda_pool_memory.hpp"
#include "device/ort_environment.hpp"

namespace kvcache::device {
namespace {

constexpr const char* kNone = "none";

/// CUDA's way of writing 13.0 is 13000.
std::string version(int number) { return fmt::format("{}.{}", number / 1000, number % 1000 / 10); }

std::string driver_version() {
  int number = 0;
  cudaDriverGetVersion(&number);
  return number == 0 ? kNone : version(number);
}

std::string why_no_gpu(cudaError_t error, int count) {
  if (driver_version() == kNone) {
    return fmt::format(
        "no driver for NVIDIA GPUs is installed; this build needs one for CUDA {} or later",
        version(CUDART_VERSION));
  }
  if (error == cudaErrorInsufficientDriver) {
    return fmt::format(
        "the driver (for CUDA {}) is older than CUDA {}, which this build was made with; install a "
        "newer driver",
        driver_version(), version(CUDART_VERSION));
  }
  if (error == cudaSuccess && count == 0) {
    error = cudaErrorNoDevice;
  }
  return fmt::format("no GPU can be used: {} (driver for CUDA: {}, built with CUDA {})",
                     cudaGetErrorString(error), driver_version(), version(CUDART_VERSION));
}

}  // namespace

std::shared_ptr<Backend> find_cuda_backend(const BackendOptions& options, std::string& why_not) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess || count == 0) {
    why_not = why_no_gpu(error, count);
    return nullptr;
  }
  const std::vector<std::string> providers = Ort::GetAvailableProviders();
  if (std::ranges::find(providers, "CUDAExecutionProvider") == providers.end()) {
    why_not = fmt::format(
        "ONNX Runtime {} was built without its CUDA provider; put onnxruntime-gpu's libraries of "
        "the same version in its place (scripts/setup --cuda)",
        Ort::GetVersionString());
    return nullptr;
  }
  try {
    int gpu = 0;
    check_cuda(cudaGetDevice(&gpu), "asking for the current GPU");
    auto backend = std::make_shared<CudaBackend>(gpu, options);
    const auto environment = ort_environment(options.telemetry);
    Ort::SessionOptions trial;
    backend->add_to(trial);  // loads the provider's library
    destroy_environment_before_provider();
    return backend;
  } catch (const Ort::Exception& refusal) {
    why_not = fmt::format(
        "ONNX Runtime {} cannot load its CUDA provider; it needs the libraries of CUDA and cuDNN "
        "that it was built with: {}",
        Ort::GetVersionString(), refusal.what());
  } catch (const Error& refusal) {
    why_not = refusal.what();
  }
  return nullptr;
}

CudaBackend::CudaBackend(int gpu, const BackendOptions& options) : gpu_(gpu) {
  resources_->stream = std::make_shared<CudaStream>();
  check_cuda(
      cudaDeviceGetAttribute(&resources_->multiprocessors, cudaDevAttrMultiProcessorCount, gpu),
      "asking for the GPU's size");
  resources_->captures_runs = options.captures_runs;
  resources_->fuses_steps = options.fuses_steps;
  resources_->log = options.log;
}

std::string CudaBackend::description() const {
  cudaDeviceProp properties{};
  cudaGetDeviceProperties(&properties, gpu_);
  return fmt::format("cuda: {} (sm_{}{}, driver for CUDA {}, built with CUDA {})", properties.name,
                     properties.major, properties.minor, driver_version(), version(CUDART_VERSION));
}

void CudaBackend::add_to(Ort::SessionOptions& options) const {
  const OrtApi& api = Ort::GetApi();
  OrtCUDAProviderOptionsV2* cuda = nullptr;
  Ort::ThrowOnError(api.CreateCUDAProviderOptions(&cuda));
  const std::unique_ptr<OrtCUDAProviderOptionsV2, void (*)(OrtCUDAProviderOptionsV2*)> owner(
      cuda, api.ReleaseCUDAProviderOptions);
  const std::string gpu = std::to_string(gpu_);
  // float32 stays float32; what ONNX Runtime needs now and then it takes as it is needed.
  const std::array<const char*, 3> keys{"device_id", "use_tf32", "arena_extend_strategy"};
  const std::array<const char*, 3> values{gpu.c_str(), "0", "kSameAsRequested"};
  Ort::ThrowOnError(api.UpdateCUDAProviderOptions(cuda, keys.data(), values.data(), keys.size()));
  Ort::ThrowOnError(api.UpdateCUDAProviderOptionsWithValue(cuda, "user_compute_stream",
                                                           resources_->stream->get()));
  options.AppendExecutionProvider_CUDA_V2(*cuda);
  options.SetIntraOpNumThreads(1);  // no node needs more of the host: see SessionThreads
  // Memory that is laid out anew for each shape could not be used by captured runs.
  options.DisableMemPattern();
}

Ort::MemoryInfo CudaBackend::memory_info() const {
  return {"Cuda", OrtDeviceAllocator, gpu_, OrtMemTypeDefault};
}

std::unique_ptr<PoolMemory> CudaBackend::reserve(std::size_t bytes) {
  return std::make_unique<CudaPoolMemory>(bytes, resources_->stream);
}

std::unique_ptr<Step> CudaBackend::new_step(const StepModel& model) {
  return std::make_unique<CudaStep>(model, resources_);
}

}  // namespace kvcache::device
