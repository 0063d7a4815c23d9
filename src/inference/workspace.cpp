#include "inference/workspace.hpp"

#include <algorithm>
#include <array>
#include <new>
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

Workspace::Inputs& Workspace::prepare(const RunShape& shape) {
  if (shape == shape_) {
    return inputs_;
  }
  shape_ = {0, 0, 0, 0, false};  // until everything below has succeeded
  const std::size_t logits_rows = shape.num_logits == 0 ? shape.tokens : shape.num_logits;
  const bool cached = cache_use_ == CacheUse::in_place;
  try {
    inputs_.input_ids.resize(shape.tokens);
    inputs_.position_ids.resize(shape.tokens);
    inputs_.logits_positions.resize(shape.num_logits);
    inputs_.block_table.resize(cached ? shape.rows * shape.blocks_per_row : 0);
    inputs_.past_lengths.resize(cached ? shape.rows : 0);
    inputs_.append_positions.resize(shape.trees ? shape.rows : 0);
    inputs_.row_offsets.resize(shape.rows > 1 ? shape.rows + 1 : 0);
    inputs_.tree_parents.resize(shape.trees ? shape.tokens : 0);
    logits_.resize(logits_rows * info_.vocab_size * data_type_size(info_.dtype));
  } catch (const std::bad_alloc&) {
    throw_error(ErrorCode::out_of_memory,
                "no memory for the logits of {} tokens ({} bytes each); ask for the last ones only",
                logits_rows, info_.vocab_size * data_type_size(info_.dtype));
  }
  shape_ = shape;
  bind_inputs_and_logits();
  return inputs_;
}

void Workspace::bind_inputs_and_logits() {
  const std::int64_t tokens = as_axis(shape_.tokens);
  const auto bind = [&](const char* name, auto& data, std::initializer_list<std::int64_t> shape) {
    binding_.BindInput(name, tensor_over(memory_, data, shape));
  };
  const auto bind_list = [&](const char* name, auto& data) {
    bind(name, data, {as_axis(data.size())});
  };
  bind("input_ids", inputs_.input_ids, {1, tokens});
  bind("position_ids", inputs_.position_ids, {1, tokens});
  bind_list("logits_positions", inputs_.logits_positions);
  if (cache_use_ == CacheUse::in_place) {
    bind("block_table", inputs_.block_table,
         {as_axis(shape_.rows), as_axis(shape_.blocks_per_row)});
    bind_list("past_lengths", inputs_.past_lengths);
    bind_list("append_positions", inputs_.append_positions);
    bind_list("row_offsets", inputs_.row_offsets);
    bind_list("tree_parents", inputs_.tree_parents);
  }
  const std::array<std::int64_t, 3> logits_shape{1, as_axis(logits_rows()),
                                                 as_axis(info_.vocab_size)};
  binding_.BindOutput("logits", Ort::Value::CreateTensor(memory_, logits_.data(), logits_.size(),
                                                         logits_shape.data(), logits_shape.size(),
                                                         model::element_type(info_.dtype)));
}

std::size_t Workspace::logits_rows() const noexcept {
  return shape_.num_logits == 0 ? shape_.tokens : shape_.num_logits;
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
