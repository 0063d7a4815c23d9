#include "device/cuda/cuda_step.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <utility>

#include "base/throw_error.hpp"
#include "device/answers_on_host.hpp"
#include "device/cuda/with_type.hpp"
#include "kernels/cuda/fused_rows.hpp"
#include "kernels/cuda/run_inputs_cuda.hpp"

namespace kvcache::device {
namespace {

constexpr int kRunsBeforeCapture = 2;
constexpr TokenId kNoToken = -1;
constexpr int kPollsBetweenQueries = 1 << 16;  // to the driver, whether a run has failed

/// @param way_around what a user can do until it is mended, or nothing
/// @throws Error run_failed
void require_whole(bool whole, const char* what, const char* way_around = "") {
  if (!whole) {
    throw_error(ErrorCode::run_failed,
                "{} ended and had not written all of its results, which is a fault of this "
                "library: please report it{}",
                what, way_around);
  }
}

}  // namespace

CudaStep::CudaStep(const StepModel& model, std::shared_ptr<CudaStepResources> resources)
    : model_(model),
      resources_(std::move(resources)),
      logits_(model.type, model.vocab_size),
      questions_(model.type, model.vocab_size, *resources_->stream) {
  for (const OutputInfo& output : model.outputs) {
    outputs_.emplace_back(model.type, output.size);
  }
}

CudaStep::~CudaStep() { forget_capture(); }

void CudaStep::forget_capture() noexcept {
  if (graph_ != nullptr) {
    cudaGraphExecDestroy(graph_);
    graph_ = nullptr;
  }
  fused_ = nullptr;
  runs_ = 0;
}

void CudaStep::resize(const StepShape& shape) {
  forget_capture();
  shape_ = {};
  fit(host_inputs_, shape.input_bytes, "the inputs of a run");
  fit(device_inputs_, shape.input_bytes, "the inputs of a run");
  logits_.resize(shape.logits_rows, "logits; ask for those of fewer tokens");
  for (DeviceRows& output : outputs_) {
    output.resize(shape.logits_rows, "outputs; ask for the logits of fewer tokens");
  }
  fit(best_, shape.logits_rows * sizeof(kernels::TopLogit), "the best tokens");
  shape_ = shape;
}

bool CudaStep::run(const plan::StepBinding& binding, const std::function<void()>& enqueue) {
  logits_.forget();
  for (DeviceRows& output : outputs_) {
    output.forget();
  }
  comes_along_ = false;
  lane_.reset();  // a run that failed may have left it
  bool prepared = fused_ != nullptr && fused_->prepare(fused_inputs_, prepared_);
  auto lock = resources_->stream->lock();
  const bool is_third = runs_ == kRunsBeforeCapture;
  if (may_be_fused(binding) && fused_ == nullptr && graph_ == nullptr) {
    // A step of a model that has been made ready needs nothing of its own.
    fuse(binding, is_third && binding.tokens <= kernels::kMaxFusedTokens);
    prepared = fused_ != nullptr && fused_->prepare(fused_inputs_, prepared_);
  }
  if (prepared) {
    start_fused();
    lock.unlock();
    wait_for_fused();
    return true;  // no node ran, as under a capture
  }
  say_if_too_large(binding);
  const bool known = graph_ != nullptr;
  if (resources_->captures_runs && !known && is_third) {
    capture(enqueue);
  }
  expect_best();
  if (graph_ != nullptr) {
    check_cuda(cudaGraphLaunch(graph_, resources_->stream->get()), "starting a captured run");
  } else {
    enqueue_all(enqueue);
  }
  // The best tokens are the last that a run writes, unless copies come behind them.
  const bool has_copies = logits_.come_along() || !outputs_.empty();
  if (has_copies) {
    resources_->stream->mark(end_);
  }
  lock.unlock();
  if (has_copies) {
    CudaStream::wait(end_);
    set_brought();
  } else {
    require_whole(wait_for_best(), "a run");
  }
  ++runs_;
  return known;
}

/// Whether it is worth asking: the model is made ready when a run comes for the third time.
bool CudaStep::may_be_fused(const plan::StepBinding& binding) const {
  if (!resources_->captures_runs || !resources_->fuses_steps || binding.block_table == nullptr) {
    return false;
  }
  if (resources_->fused == nullptr) {
    const bool is_search = model_.vocab_size <= kernels::kMostRowsVocabulary;  // of many rows
    return runs_ == kRunsBeforeCapture &&
           binding.tokens <= (is_search ? plan::kMostFusedTokens : kernels::kMaxFusedTokens);
  }
  const plan::FusedModel::MostTokens most = resources_->fused->most_tokens();
  return binding.tokens <= kernels::kMaxFusedTokens ||
         (binding.tokens <= most.rows && binding.tokens >= most.fewest_of_rows);
}

void CudaStep::enqueue_all(const std::function<void()>& enqueue) {
  check_cuda(kernels::bring_inputs(host_inputs_.data(), device_inputs_.data(), shape_.input_bytes,
                                   resources_->stream->get()),
             "copying the inputs");
  enqueue();
  check_cuda(with_type(model_.type,
                       [&](const auto* type) {
                         return kernels::argmax_cuda(
                             reinterpret_cast<decltype(type)>(logits_.at(0)),
                             static_cast<std::int64_t>(shape_.logits_rows),
                             static_cast<std::int64_t>(model_.vocab_size), best(),
                             resources_->stream->get());
                       }),
             "finding the best tokens");
  enqueue_copies();
}

void CudaStep::enqueue_copies() {
  logits_.enqueue_copy(*resources_->stream);
  for (DeviceRows& output : outputs_) {
    output.enqueue_copy(*resources_->stream);
  }
}

void CudaStep::expect_best() noexcept {
  for (kernels::TopLogit& row : std::span(best(), shape_.logits_rows)) {
    std::atomic_ref(row.token).store(kNoToken, std::memory_order_relaxed);
  }
}

void CudaStep::start_fused() {
  expect_best();
  plan::Lane lane{resources_->stream->get(), 0};
  if (fused_inputs_.host_logits != nullptr && fused_->is_independent(fused_inputs_)) {
    expect_outputs();
    resources_->stream->take_lane(lane_);
    lane = lane_->lane();
  }
  check_cuda(fused_->step(fused_inputs_, logits_.at(0), best(), lane, prepared_),
             "starting a fused step");
  // Of one row, there may be nothing but its best token that is asked for.
  if (!lane_ && logits_.come_along() && shape_.logits_rows > 1) {
    enqueue_copies();
    resources_->stream->mark(end_);
    comes_along_ = true;
  }
}

void CudaStep::set_brought() noexcept {
  logits_.set_brought();
  for (DeviceRows& output : outputs_) {
    output.set_brought();
  }
}

/// An output's elements, 16 bits each, where an independent step writes them: their own flags.
std::span<std::uint16_t> CudaStep::on_host(std::size_t output) const noexcept {
  return {reinterpret_cast<std::uint16_t*>(fused_inputs_.host_outputs[output]),
          shape_.logits_rows * model_.outputs[output].size};
}

void CudaStep::expect_outputs() noexcept {
  for (std::size_t output = 0; output < outputs_.size(); ++output) {
    std::ranges::fill(on_host(output), plan::kNotYet16);
  }
}

/// Until what a run writes to the host is there. False where the run has ended without it.
template <typename IsThere>
bool CudaStep::poll(const IsThere& is_there) {
  for (int polls = 1; !is_there(); ++polls) {
    if (polls % kPollsBetweenQueries == 0) {
      const auto lock = resources_->stream->lock();  // nobody may ask while a run is captured
      const cudaError_t state =
          cudaStreamQuery(lane_ ? lane_->lane().stream : resources_->stream->get());
      if (state != cudaErrorNotReady) {
        check_cuda(state, "waiting for a run");
        return is_there();
      }
    }
  }
  return true;
}

/// A row's token is the last that a run writes of it, and seen sooner than the driver knows of the
/// end. What comes next on the stream waits for the end all the same.
bool CudaStep::wait_for_best() {
  bool whole = true;
  for (kernels::TopLogit& row : std::span(best(), shape_.logits_rows)) {
    whole = whole && poll([&] {
              return std::atomic_ref(row.token).load(std::memory_order_acquire) != kNoToken;
            });
  }
  return whole;
}

void CudaStep::wait_for_fused() {
  bool whole = wait_for_best();
  const bool brings_outputs = lane_.has_value();
  for (std::size_t output = 0; brings_outputs && output < outputs_.size(); ++output) {
    for (std::uint16_t& element : on_host(output)) {
      whole = whole && poll([&] {
                return std::atomic_ref(element).load(std::memory_order_acquire) != plan::kNotYet16;
              });
    }
  }
  lane_.reset();
  require_whole(whole, "a fused step",
                "; ModelOptions::fuse_steps = false (--no-fused-steps) goes around it");
  if (brings_outputs) {
    set_brought();
  }
}

/// The same inputs where the host has them.
void CudaStep::keep_inputs(const plan::StepBinding& binding) {
  fused_inputs_ = binding;
  const auto bring = [this](auto*& input) {
    if (input != nullptr) {
      input = on_host(input);
    }
  };
  bring(fused_inputs_.input_ids);
  bring(fused_inputs_.position_ids);
  bring(fused_inputs_.logits_positions);
  bring(fused_inputs_.block_table);
  bring(fused_inputs_.past_lengths);
  bring(fused_inputs_.append_positions);
  bring(fused_inputs_.row_offsets);
  bring(fused_inputs_.tree_parents);
  fused_inputs_.host_logits = logits_.twin();
  fused_inputs_.host_outputs.clear();
  for (DeviceRows& output : outputs_) {
    fused_inputs_.host_outputs.push_back(output.twin());
    if (output.twin() == nullptr) {
      fused_inputs_.host_logits = nullptr;  // all or none
    }
  }
}

void CudaStep::fuse(const plan::StepBinding& binding, bool says_why_not) {
  std::string why_not;
  fused_ = plan::fuse(model_.plan, *model_.weights.cuda, binding, resources_->multiprocessors,
                      resources_->fused, resources_->stream->get(), why_not);
  if (fused_ != nullptr) {
    resources_->fused = fused_;
    keep_inputs(binding);
  } else if (says_why_not && resources_->log) {
    resources_->log(
        fmt::format("a step of {} tokens is not run as one kernel: {}", binding.tokens, why_not));
  }
}

/// Once of a shape, of a run that is not fused though its shape is.
void CudaStep::say_if_too_large(const plan::StepBinding& binding) {
  if (fused_ != nullptr && !said_too_large_ && resources_->log) {
    said_too_large_ = true;
    resources_->log(
        fmt::format("a step of {} tokens is not run as one kernel while its rows are too long for "
                    "that, or the device has no memory",
                    binding.tokens));
  }
}

void CudaStep::capture(const std::function<void()>& enqueue) {
  std::string failure;
  const auto keep = [&](cudaError_t error) {
    if (error != cudaSuccess && failure.empty()) {
      failure = cudaGetErrorString(error);
    }
    return error == cudaSuccess;
  };
  if (keep(cudaStreamBeginCapture(resources_->stream->get(), cudaStreamCaptureModeThreadLocal))) {
    try {
      enqueue_all(enqueue);
    } catch (const std::exception& error) {
      failure = error.what();
    }
    cudaGraph_t graph = nullptr;
    keep(cudaStreamEndCapture(resources_->stream->get(), &graph));
    if (graph != nullptr) {
      if (failure.empty()) {
        keep(cudaGraphInstantiate(&graph_, graph, 0));
      }
      cudaGraphDestroy(graph);
    }
  }
  if (!failure.empty()) {
    graph_ = nullptr;
    cudaGetLastError();  // seen to
    if (resources_->log) {
      resources_->log(
          fmt::format("a run could not be captured as a CUDA graph and goes on kernel by kernel: "
                      "{}",
                      failure));
    }
  }
}

std::optional<std::size_t> CudaStep::row_with_nan() const {
  // A NaN comes before all numbers (logit_order.cuh): it is the best of its row.
  for (std::size_t row = 0; row < shape_.logits_rows; ++row) {
    if (std::isnan(best()[row].logit)) {
      return row;
    }
  }
  return std::nullopt;
}

void CudaStep::wait_for_copies() {
  if (comes_along_.load(std::memory_order_acquire)) {  // of a fused step, whose end nobody awaited
    CudaStream::wait(end_);
    set_brought();
    comes_along_.store(false, std::memory_order_release);
  }
}

std::span<const float> CudaStep::row(std::size_t row) {
  wait_for_copies();
  return logits_.row(row, *resources_->stream);
}

std::span<const float> CudaStep::output(std::size_t output, std::size_t row) {
  wait_for_copies();
  return outputs_[output].row(row, *resources_->stream);
}

TokenId CudaStep::argmax(std::size_t row) { return best()[row].token; }

// Logits that come along are asked here, where that takes a microsecond or two.

std::vector<TokenScore> CudaStep::top_k(std::size_t k, std::size_t row, const TokenMask* allowed) {
  return logits_.come_along() ? top_k_on_host(this->row(row), k, allowed)
                              : questions_.top_k(k, logits_.at(row), allowed);
}

double CudaStep::log_sum_exp(double temperature, std::size_t row, const TokenMask* allowed) {
  if (logits_.come_along()) {
    return log_sum_exp_on_host(this->row(row), temperature, allowed);
  }
  const float largest =
      allowed == nullptr ? best()[row].logit : top_k(1, row, allowed).front().logit;
  return questions_.log_sum_exp(temperature, logits_.at(row), allowed, largest);
}

void CudaStep::log_probabilities(std::span<const RowToken> tokens, std::span<float> found) {
  if (logits_.come_along()) {
    log_probabilities_on_host([this](std::size_t row) { return this->row(row); }, tokens, found);
  } else {
    questions_.log_probabilities(tokens, logits_.at(0), std::span(best(), shape_.logits_rows),
                                 found);
  }
}

}  // namespace kvcache::device
