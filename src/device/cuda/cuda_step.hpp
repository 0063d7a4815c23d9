// A run on the GPU: kernel by kernel at first, then as a captured graph.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "device/cuda/cuda_buffer.hpp"
#include "device/cuda/cuda_stream.hpp"
#include "device/cuda/device_rows.hpp"
#include "device/cuda/logit_questions.hpp"
#include "device/step.hpp"
#include "kernels/cuda/top_logits_cuda.hpp"
#include "kvcache/options.hpp"
#include "plan/cuda/fused_model.hpp"

namespace kvcache::device {

/// What the steps of a model share; `fused` is used under the stream's lock.
struct CudaStepResources {
  std::shared_ptr<CudaStream> stream;
  int multiprocessors = 0;
  bool captures_runs = true;
  bool fuses_steps = true;
  LogCallback log;
  std::shared_ptr<plan::FusedModel> fused;  // once a step has been fused
};

/// What crosses the bus in a run are its inputs, each row's best token and rows of few bytes; long
/// logits only when asked for, under the stream's lock, so that several threads may ask.
///
/// The third run of a shape is captured as a CUDA graph, which serves the ones after it: the block
/// table and the lengths are read on the device, so one capture serves every depth. (The second
/// still runs alone: ONNX Runtime's arena has then seen the shape twice.) Where a capture fails,
/// the log says why and runs go on kernel by kernel. Where it is a step that a
/// model's fused kernels take, it becomes one kernel instead (plan/cuda/fused_model.hpp), and so
/// does every other such step from its first run on.
class CudaStep : public Step {
 public:
  CudaStep(const StepModel& model, std::shared_ptr<CudaStepResources> resources);
  ~CudaStep() override;

  void resize(const StepShape& shape) override;
  [[nodiscard]] std::byte* host_inputs() noexcept override { return host_inputs_.data(); }
  [[nodiscard]] std::byte* device_inputs() noexcept override { return device_inputs_.data(); }
  [[nodiscard]] std::byte* device_logits() noexcept override { return logits_.at(0); }
  [[nodiscard]] std::size_t logits_capacity() const noexcept override { return logits_.capacity(); }
  [[nodiscard]] std::byte* device_output(std::size_t output) noexcept override {
    return outputs_[output].at(0);
  }
  bool run(const plan::StepBinding& binding, const std::function<void()>& enqueue) override;
  [[nodiscard]] std::optional<std::size_t> row_with_nan() const override;
  [[nodiscard]] std::span<const float> row(std::size_t row) override;
  [[nodiscard]] std::span<const float> output(std::size_t output, std::size_t row) override;
  [[nodiscard]] TokenId argmax(std::size_t row) override;
  [[nodiscard]] bool on_host() const noexcept override { return false; }
  [[nodiscard]] std::vector<TokenScore> top_k(std::size_t k, std::size_t row,
                                              const TokenMask* allowed) override;
  [[nodiscard]] double log_sum_exp(double temperature, std::size_t row,
                                   const TokenMask* allowed) override;
  void log_probabilities(std::span<const RowToken> tokens, std::span<float> found) override;

 private:
  void enqueue_all(const std::function<void()>& enqueue);
  void capture(const std::function<void()>& enqueue);
  void fuse(const plan::StepBinding& binding, bool says_why_not);
  void keep_inputs(const plan::StepBinding& binding);
  void say_if_too_large(const plan::StepBinding& binding);
  [[nodiscard]] bool may_be_fused(const plan::StepBinding& binding) const;
  void start_fused();     // under the stream's lock
  void wait_for_fused();  // without it: other threads' runs may go into the stream meanwhile
  void forget_capture() noexcept;
  [[nodiscard]] std::span<std::uint16_t> on_host(std::size_t output) const noexcept;
  void expect_best() noexcept;
  void expect_outputs() noexcept;
  [[nodiscard]] bool wait_for_best();  // false: the run has ended without it
  template <typename IsThere>
  bool poll(const IsThere& is_there);
  void enqueue_copies();
  void wait_for_copies();  // that enqueue_copies() put in behind a fused step
  void set_brought() noexcept;

  /// The host's twin of an input on the device.
  template <typename T>
  [[nodiscard]] const T* on_host(const T* input) const noexcept {
    return reinterpret_cast<const T*>(
        host_inputs_.data() + (reinterpret_cast<const std::byte*>(input) - device_inputs_.data()));
  }
  [[nodiscard]] kernels::TopLogit* best() const noexcept {
    return reinterpret_cast<kernels::TopLogit*>(best_.data());
  }

  StepModel model_;
  std::shared_ptr<CudaStepResources> resources_;
  StepShape shape_;
  CudaBuffer<BufferPlace::host> host_inputs_;
  CudaBuffer<BufferPlace::gpu> device_inputs_;
  DeviceRows logits_;
  std::deque<DeviceRows> outputs_;      // they do not move
  CudaBuffer<BufferPlace::host> best_;  // [logits_rows]
  LogitQuestions questions_;
  CudaEvent end_;                              // of the last run, with the copy of its results
  std::optional<CudaStream::LaneLease> lane_;  // of a fused step under way, unless in the stream
  std::atomic<bool> comes_along_{false};  // a fused step's copy, whose end nobody has waited for
  int runs_ = 0;                          // of this shape, that were not fused
  cudaGraphExec_t graph_ = nullptr;
  std::shared_ptr<plan::FusedModel> fused_;  // in place of a graph
  plan::StepBinding fused_inputs_;           // of its steps, read on the host
  plan::PreparedStep prepared_;
  bool said_too_large_ = false;  // that runs of this shape were too large to be fused
};

}  // namespace kvcache::device
