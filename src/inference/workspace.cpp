#include "inference/workspace.hpp"

#include <algorithm>
#include <array>
#include <new>
#include <numeric>
#include <string>

#include "model/contract.hpp"
#include "throw_error.hpp"

namespace kvcache::inference {
namespace {

std::int64_t as_axis(std::size_t size) { return static_cast<std::int64_t>(size); }

/// A tensor over memory that somebody else owns.
template <typename T>
Ort::Value tensor_over(const Ort::MemoryInfo& memory, std::vector<T>& data,
                       std::initializer_list<std::int64_t> shape) {
  return Ort::Value::CreateTensor<T>(memory, data.data(), data.size(), shape.begin(), shape.size());
}

}  // namespace

Workspace::Workspace(model::Session& session, const ModelInfo& info, const cache::BlockPool& pool,
                     CacheUse cache_use)
    : session_(session),
      info_(info),
      pool_(pool),
      cache_use_(cache_use),
      blocks_per_row_((info.max_seq_len + pool.shape().block_len - 1) / pool.shape().block_len),
      memory_(Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault)),
      binding_(session.ort()) {
  bind_cache();
}

void Workspace::bind_cache() {
  const cache::PoolShape& pool = pool_.shape();
  const ONNXTensorElementDataType type = model::element_type(info_.dtype);
  const std::array<std::int64_t, 4> in_place{as_axis(pool.max_blocks), as_axis(pool.num_heads),
                                             as_axis(pool.block_len), as_axis(pool.head_dim)};
  const std::array<std::int64_t, 4> empty{1, as_axis(info_.num_heads), 0, as_axis(info_.head_dim)};
  const bool cached = cache_use_ == CacheUse::in_place;
  const auto& shape = cached ? in_place : empty;
  const std::size_t bytes = cached ? pool.max_blocks * pool.layer_block_bytes() : 0;
  for (std::size_t layer = 0; layer < info_.num_layers; ++layer) {
    const Ort::Value key = Ort::Value::CreateTensor(memory_, pool_.pool_data(2 * layer), bytes,
                                                    shape.data(), shape.size(), type);
    const Ort::Value value = Ort::Value::CreateTensor(memory_, pool_.pool_data(2 * layer + 1),
                                                      bytes, shape.data(), shape.size(), type);
    binding_.BindInput(model::past_key_name(layer).c_str(), key);
    binding_.BindInput(model::past_value_name(layer).c_str(), value);
    if (cached) {
      binding_.BindOutput(model::present_key_name(layer).c_str(), key);
      binding_.BindOutput(model::present_value_name(layer).c_str(), value);
    }
  }
}

void Workspace::prepare(const RunShape& shape) {
  if (shape == shape_) {
    return;
  }
  const std::size_t tokens = shape.rows * shape.tokens_per_row;
  const std::size_t logits_rows = shape.num_logits == 0 ? tokens : shape.rows * shape.num_logits;
  shape_ = {0, 0, 0};  // until everything below has succeeded
  try {
    input_ids_.resize(tokens);
    position_ids_.resize(tokens);
    logits_positions_.resize(shape.num_logits);
    if (cache_use_ == CacheUse::in_place) {
      past_lengths_.resize(shape.rows);
      block_table_.resize(shape.rows * blocks_per_row_);
    }
    logits_.resize(logits_rows * info_.vocab_size * data_type_size(info_.dtype));
  } catch (const std::bad_alloc&) {
    throw_error(ErrorCode::out_of_memory,
                "no memory for the logits of {} tokens ({} bytes each); ask for the last ones only",
                logits_rows, info_.vocab_size * data_type_size(info_.dtype));
  }
  shape_ = shape;
  bind_inputs_and_logits();
}

void Workspace::bind_inputs_and_logits() {
  const std::int64_t rows = as_axis(shape_.rows);
  const std::int64_t tokens = as_axis(shape_.tokens_per_row);
  const std::int64_t num_logits = as_axis(shape_.num_logits);
  binding_.BindInput("input_ids", tensor_over(memory_, input_ids_, {rows, tokens}));
  binding_.BindInput("position_ids", tensor_over(memory_, position_ids_, {rows, tokens}));
  binding_.BindInput("logits_positions", tensor_over(memory_, logits_positions_, {num_logits}));
  if (cache_use_ == CacheUse::in_place) {
    binding_.BindInput("past_lengths", tensor_over(memory_, past_lengths_, {rows}));
    binding_.BindInput("block_table",
                       tensor_over(memory_, block_table_, {rows, as_axis(blocks_per_row_)}));
  }
  const std::array<std::int64_t, 3> logits_shape{rows, num_logits == 0 ? tokens : num_logits,
                                                 as_axis(info_.vocab_size)};
  binding_.BindOutput("logits", Ort::Value::CreateTensor(memory_, logits_.data(), logits_.size(),
                                                         logits_shape.data(), logits_shape.size(),
                                                         model::element_type(info_.dtype)));
}

void Workspace::prepare_row(std::span<const TokenId> tokens, std::size_t depth,
                            LogitsFor logits_for) {
  const bool last_only = logits_for == LogitsFor::last && tokens.size() > 1;
  prepare({.rows = 1, .tokens_per_row = tokens.size(), .num_logits = last_only ? 1U : 0U});
  std::ranges::copy(tokens, input_ids_.begin());
  std::iota(position_ids_.begin(), position_ids_.end(), static_cast<std::int64_t>(depth));
  if (last_only) {
    logits_positions_[0] = static_cast<std::int64_t>(tokens.size()) - 1;
  }
}

std::span<std::int64_t> Workspace::input_ids() noexcept { return input_ids_; }
std::span<std::int64_t> Workspace::position_ids() noexcept { return position_ids_; }
std::span<std::int64_t> Workspace::logits_positions() noexcept { return logits_positions_; }
std::span<std::int32_t> Workspace::past_lengths() noexcept { return past_lengths_; }

std::span<std::int32_t> Workspace::block_table(std::size_t row) noexcept {
  return std::span(block_table_).subspan(row * blocks_per_row_, blocks_per_row_);
}

std::size_t Workspace::logits_rows() const noexcept {
  return shape_.rows * (shape_.num_logits == 0 ? shape_.tokens_per_row : shape_.num_logits);
}

void Workspace::run() {
  widened_.clear();
  session_.run(run_options_, binding_);
}

std::span<const float> Workspace::logits_row(std::size_t row) {
  const std::size_t vocab_size = info_.vocab_size;
  const std::byte* logits = logits_.data() + row * vocab_size * data_type_size(info_.dtype);
  if (info_.dtype == DataType::float32) {
    return {reinterpret_cast<const float*>(logits), vocab_size};
  }
  widened_.resize(logits_rows());
  std::vector<float>& widened = widened_[row];
  if (widened.empty()) {
    widened.resize(vocab_size);
    const auto widen = [&]<typename T>(const T* values) {
      std::transform(values, values + vocab_size, widened.begin(),
                     [](T value) { return value.ToFloat(); });
    };
    if (info_.dtype == DataType::float16) {
      widen(reinterpret_cast<const Ort::Float16_t*>(logits));
    } else {
      widen(reinterpret_cast<const Ort::BFloat16_t*>(logits));
    }
  }
  return widened;
}

}  // namespace kvcache::inference
