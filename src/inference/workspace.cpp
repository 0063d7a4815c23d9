#include "inference/workspace.hpp"

#include <array>
#include <initializer_list>

#include "base/rounding.hpp"
#include "base/throw_error.hpp"
#include "ort/contract.hpp"

namespace kvcache::inference {
namespace {

std::int64_t as_axis(std::size_t size) { return static_cast<std::int64_t>(size); }

/// Gives out parts of one piece of memory, each on 16 bytes.
class Layout {
 public:
  /// Null: only to find out how much is used.
  explicit Layout(std::byte* memory) : memory_(memory) {}

  template <typename T>
  std::span<T> take(std::size_t count) {
    auto* const begin = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + used_);
    used_ += round_up(count * sizeof(T), 16);
    return {begin, count};
  }

  [[nodiscard]] std::size_t used() const noexcept { return used_; }

 private:
  std::byte* memory_;
  std::size_t used_ = 0;
};

/// The inputs of a run of this shape in `layout`'s memory.
RunInputs lay_out(Layout& layout, const RunShape& shape, bool cached) {
  RunInputs inputs;
  inputs.input_ids = layout.take<std::int64_t>(shape.tokens);
  inputs.position_ids = layout.take<std::int64_t>(shape.tokens);
  inputs.logits_positions = layout.take<std::int64_t>(shape.num_logits);
  inputs.block_table =
      layout.take<std::int32_t>(cached ? shape.table_rows() * shape.blocks_per_row : 0);
  inputs.past_lengths = layout.take<std::int32_t>(cached ? shape.rows : 0);
  inputs.append_positions = layout.take<std::int32_t>(shape.trees ? shape.rows : 0);
  inputs.row_offsets = layout.take<std::int32_t>(shape.row_offsets() ? shape.rows + 1 : 0);
  inputs.tree_parents = layout.take<std::int32_t>(shape.trees ? shape.tokens : 0);
  return inputs;
}

}  // namespace

Workspace::Workspace(ort::Session& session, const ModelInfo& info, const cache::BlockPool& pool,
                     CacheUse cache_use)
    : session_(session),
      info_(info),
      pool_(pool),
      cache_use_(cache_use),
      memory_(session.backend().memory_info()),
      step_(session.backend().new_step(session.step_model())),
      binding_(session.ort()),
      run_options_(session.run_options()) {
  bind_cache();
}

void Workspace::bind_cache() {
  const cache::PoolShape& pool = pool_.shape();
  const ONNXTensorElementDataType type = ort::element_type(info_.cache_dtype);
  const std::array<std::int64_t, 4> empty{1, as_axis(info_.num_kv_heads), 0,
                                          as_axis(pool.vector_elements())};
  const bool cached = cache_use_ == CacheUse::in_place;
  step_binding_.cache_type = info_.cache_dtype;
  step_binding_.block_len = as_axis(pool.block_len);
  for (std::size_t layer = 0; layer < info_.num_layers; ++layer) {
    const std::size_t places = pool_.places(pool_.groups().group_of_layer[layer]);
    const std::array<std::int64_t, 4> in_place{as_axis(places), as_axis(pool.num_heads),
                                               as_axis(pool.block_len),
                                               as_axis(pool.vector_elements())};
    const auto& shape = cached ? in_place : empty;
    const std::size_t bytes = cached ? places * pool.layer_block_bytes() : 0;
    const Ort::Value key = Ort::Value::CreateTensor(memory_, pool_.pool_data(2 * layer), bytes,
                                                    shape.data(), shape.size(), type);
    const Ort::Value value = Ort::Value::CreateTensor(memory_, pool_.pool_data(2 * layer + 1),
                                                      bytes, shape.data(), shape.size(), type);
    step_binding_.pools.push_back(pool_.pool_data(2 * layer));
    step_binding_.pools.push_back(pool_.pool_data(2 * layer + 1));
    binding_.BindInput(ort::past_key_name(layer).c_str(), key);
    binding_.BindInput(ort::past_value_name(layer).c_str(), value);
    if (cached) {
      binding_.BindOutput(ort::present_key_name(layer).c_str(), key);
      binding_.BindOutput(ort::present_value_name(layer).c_str(), value);
    }
  }
}

RunInputs& Workspace::prepare(const RunShape& shape) {
  if (shape == shape_) {
    return inputs_;
  }
  shape_ = kNoShape;  // until everything below has succeeded
  const bool cached = cache_use_ == CacheUse::in_place;
  Layout sizes(nullptr);
  lay_out(sizes, shape, cached);
  step_->resize({.input_bytes = sizes.used(), .logits_rows = shape.logits_rows()});
  Layout on_host(step_->host_inputs());
  inputs_ = lay_out(on_host, shape, cached);
  Layout on_device(step_->device_inputs());
  const RunInputs device_inputs = lay_out(on_device, shape, cached);
  bind_inputs_and_outputs(device_inputs, shape);
  bind_step(device_inputs, shape);
  shape_ = shape;
  return inputs_;
}

void Workspace::bind_inputs_and_outputs(const RunInputs& inputs, const RunShape& shape) {
  const auto bind = [&]<typename T>(const char* name, std::span<T> data,
                                    std::initializer_list<std::int64_t> axes) {
    binding_.BindInput(name, Ort::Value::CreateTensor<T>(memory_, data.data(), data.size(),
                                                         axes.begin(), axes.size()));
  };
  const auto bind_list = [&](const char* name, auto data) {
    bind(name, data, {as_axis(data.size())});
  };
  bind("input_ids", inputs.input_ids, {1, as_axis(shape.tokens)});
  bind("position_ids", inputs.position_ids, {1, as_axis(shape.tokens)});
  bind_list("logits_positions", inputs.logits_positions);
  if (cache_use_ == CacheUse::in_place) {
    bind("block_table", inputs.block_table,
         {as_axis(shape.table_rows()), as_axis(shape.blocks_per_row)});
    bind_list("past_lengths", inputs.past_lengths);
    bind_list("append_positions", inputs.append_positions);
    bind_list("row_offsets", inputs.row_offsets);
    bind_list("tree_parents", inputs.tree_parents);
  }
  const auto bind_output = [&](const char* name, std::byte* data, std::size_t size) {
    const std::array<std::int64_t, 3> axes{1, as_axis(shape.logits_rows()), as_axis(size)};
    const std::size_t bytes = shape.logits_rows() * size * data_type_size(info_.dtype);
    binding_.BindOutput(name,
                        Ort::Value::CreateTensor(memory_, data, bytes, axes.data(), axes.size(),
                                                 ort::element_type(info_.dtype)));
  };
  bind_output("logits", step_->device_logits(), info_.vocab_size);
  for (std::size_t output = 0; output < info_.outputs.size(); ++output) {
    bind_output(info_.outputs[output].name.c_str(), step_->device_output(output),
                info_.outputs[output].size);
  }
}

/// The same for who runs the model without the session.
void Workspace::bind_step(const RunInputs& inputs, const RunShape& shape) {
  const auto unless_empty = [](const auto& input) {
    return input.empty() ? nullptr : input.data();
  };
  step_binding_.input_ids = inputs.input_ids.data();
  step_binding_.position_ids = inputs.position_ids.data();
  step_binding_.logits_positions = unless_empty(inputs.logits_positions);
  step_binding_.block_table = unless_empty(inputs.block_table);
  step_binding_.past_lengths = unless_empty(inputs.past_lengths);
  step_binding_.append_positions = unless_empty(inputs.append_positions);
  step_binding_.row_offsets = unless_empty(inputs.row_offsets);
  step_binding_.tree_parents = unless_empty(inputs.tree_parents);
  step_binding_.tokens = as_axis(shape.tokens);
  step_binding_.rows = as_axis(shape.rows);
  step_binding_.blocks_per_row = as_axis(shape.blocks_per_row);
  step_binding_.num_logits = as_axis(shape.logits_rows());
  step_binding_.logits = step_->device_logits();
  step_binding_.outputs.resize(info_.outputs.size());
  for (std::size_t output = 0; output < info_.outputs.size(); ++output) {
    step_binding_.outputs[output] = step_->device_output(output);
  }
}

void Workspace::run() {
  InputLimits limits{.vocab_size = info_.vocab_size,
                     .max_seq_len = info_.max_seq_len,
                     .block_len = pool_.shape().block_len};
  for (std::size_t group = 0; group < pool_.groups().size(); ++group) {
    limits.blocks[group] = pool_.places(group);
  }
  check_inputs(inputs_, shape_, limits);
  if (step_->run(step_binding_, [this] { session_.run(run_options_, binding_); })) {
    session_.count_replay(cache_use_ == CacheUse::in_place, info_.num_layers);
  }
  session_.count_run();
  if (const auto row = step_->row_with_nan()) {
    throw_error(
        ErrorCode::logits_invalid,
        "row {} of the run's {} rows of logits holds NaN: the model's weights hold some, or "
        "keys and values overflowed {}; check the checkpoint, or export the model with "
        "--dtype float32",
        *row, logits_rows(), data_type_name(info_.dtype));
  }
}

}  // namespace kvcache::inference
