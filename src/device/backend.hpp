// Where a model runs.
#pragma once

#include <onnxruntime_cxx_api.h>

#include <memory>
#include <optional>
#include <string>

#include "base/thread_pool.hpp"
#include "device/pool_memory.hpp"
#include "device/step.hpp"
#include "kvcache/options.hpp"
#include "kvcache/types.hpp"

namespace kvcache::device {

/// A device as the rest of the library sees it: its execution provider, its memory, its runs.
/// Thread-safe.
class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  [[nodiscard]] virtual Device device() const noexcept = 0;

  /// What it is, for people: its name, and the versions that matter.
  [[nodiscard]] virtual std::string description() const = 0;

  /// The threads of our nodes; null where they are the device's or ONNX Runtime's.
  [[nodiscard]] virtual const ThreadPool* threads() const noexcept { return nullptr; }

  /// Makes sessions run here.
  /// @throws Ort::Exception when ONNX Runtime cannot
  virtual void add_to(Ort::SessionOptions& options) const = 0;

  /// Of tensors in the device's memory.
  [[nodiscard]] virtual Ort::MemoryInfo memory_info() const = 0;

  /// Bytes that the pools of a cache should begin at multiples of.
  [[nodiscard]] virtual std::size_t pool_alignment() const noexcept = 0;

  /// @throws Error out_of_memory
  [[nodiscard]] virtual std::unique_ptr<PoolMemory> reserve(std::size_t bytes) = 0;

  [[nodiscard]] virtual std::unique_ptr<Step> new_step(const StepModel& model) = 0;

  /// Whether a run of a shape that was run before is so much faster that runs should be filled up
  /// to a few shapes.
  [[nodiscard]] virtual bool prefers_few_shapes() const noexcept { return false; }
};

/// What choosing a backend depends on.
struct BackendOptions {
  std::optional<Device> required;
  std::string only_cpu{};      // why the model can run nowhere else; empty where it can
  std::string only_cuda{};     // the same of a GPU, with what to do about it
  int num_threads = 1;         // of a run on the CPU
  bool all_nodes_ours = true;  // on the CPU: they are for models of float32
  bool captures_runs = true;   // a profile shows only runs that are not captured
  bool fuses_steps = true;     // those of one token
  bool telemetry = false;      // of ONNX Runtime, where its environment is made
  LogCallback log;
};

struct BackendChoice {
  std::shared_ptr<Backend> backend;
  std::string why_not_cuda;  // empty where the backend is CUDA's
};

/// CUDA where this build, ONNX Runtime and the machine have it and TRIGO_FORCE_CPU is not set to 1,
/// else the CPU; or what is required.
/// @throws Error device_unavailable saying what is missing
BackendChoice choose_backend(const BackendOptions& options);

}  // namespace kvcache::device
