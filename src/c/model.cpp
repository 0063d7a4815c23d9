// Models of kvcache.h.
#include "kvcache/model.hpp"

#include "c/boundary.hpp"
#include "c/enumerations.hpp"
#include "c/handles.hpp"
#include "c/owned.hpp"
#include "c/structs.hpp"

namespace kvcache::c {
namespace {

/// The element of a list that a function was asked for.
template <typename Elements>
const auto& element(const Call& call, const Elements& elements, std::size_t index,
                    const char* what) {
  if (index >= elements.size()) {
    throw_error(ErrorCode::invalid_argument, "{}: {} {} was asked for, there are {}",
                call.function(), what, index, elements.size());
  }
  return elements[index];
}

kvcache_model_info to_info(const Model& model) {
  const ModelInfo& info = model.info();
  return {.struct_size = sizeof(kvcache_model_info),
          .model_type = info.model_type.c_str(),
          .source = info.source.c_str(),
          .weights = info.weights.c_str(),
          .activations = info.activations.c_str(),
          .digest = info.digest.c_str(),
          .dtype = to_number(info.dtype),
          .cache_dtype = to_number(info.cache_dtype),
          .num_layers = info.num_layers,
          .num_heads = info.num_heads,
          .num_kv_heads = info.num_kv_heads,
          .head_dim = info.head_dim,
          .hidden_size = info.hidden_size,
          .vocab_size = info.vocab_size,
          .max_seq_len = info.max_seq_len,
          .window = info.window,
          .num_outputs = info.outputs.size(),
          .bos_token_id = info.bos_token_id.value_or(KVCACHE_NO_TOKEN),
          .eos_token_id = info.eos_token_id.value_or(KVCACHE_NO_TOKEN),
          .pad_token_id = info.pad_token_id.value_or(KVCACHE_NO_TOKEN),
          .stop_token_ids = info.stop_token_ids.data(),
          .num_stop_token_ids = info.stop_token_ids.size(),
          .model_bytes = info.model_bytes,
          .weight_bytes_per_token = info.weight_bytes_per_token,
          .kv_vector_bytes = info.kv_vector_bytes(),
          .cache_bytes_per_token = info.cache_bytes_per_token(),
          .device = to_number(model.device()),
          .num_threads = model.num_threads(),
          .relative_positions = info.relative_positions ? 1 : 0,
          .invariant_results = model.invariant_results() ? 1 : 0};
}

kvcache_cache_stats to_stats(const CacheStats& stats) {
  return {.struct_size = sizeof(kvcache_cache_stats),
          .block_len = stats.block_len,
          .block_bytes = stats.block_bytes,
          .blocks_in_use = stats.blocks_in_use,
          .blocks_shared = stats.blocks_shared,
          .blocks_free = stats.blocks_free,
          .blocks_limit = stats.blocks_limit,
          .bytes_in_use = stats.bytes_in_use(),
          .bytes_shared = stats.bytes_shared(),
          .bytes_free = stats.bytes_free(),
          .bytes_allocated = stats.bytes_allocated,
          .bytes_peak = stats.bytes_peak,
          .allocations = stats.allocations,
          .in_place_runs = stats.in_place_runs,
          .growing_runs = stats.growing_runs,
          .bytes_copied = stats.bytes_copied,
          .tokens_compared = stats.tokens_compared,
          .num_groups = stats.groups.size()};
}

kvcache_layer_group_stats to_stats(const LayerGroupStats& stats) {
  return {.struct_size = sizeof(kvcache_layer_group_stats),
          .window = stats.window,
          .layers = stats.layers,
          .block_bytes = stats.block_bytes,
          .blocks_in_use = stats.blocks_in_use,
          .blocks_shared = stats.blocks_shared,
          .blocks_free = stats.blocks_free};
}

}  // namespace
}  // namespace kvcache::c

using namespace kvcache::c;
using kvcache::Model;

void kvcache_model_destroy(kvcache_model* model) noexcept { delete model; }

kvcache_status kvcache_model_get_info(const kvcache_model* model,
                                      kvcache_model_info* info) noexcept {
  return guard(__func__, [&](const Call& call) {
    answer_struct(call, info, "info", to_info(call.needed(model, "model").model));
  });
}

kvcache_status kvcache_model_get_output_info(const kvcache_model* model, size_t index,
                                             kvcache_output_info* info) noexcept {
  return guard(__func__, [&](const Call& call) {
    const auto& outputs = call.needed(model, "model").model.info().outputs;
    const kvcache::OutputInfo& output = element(call, outputs, index, "output");
    answer_struct(call, info, "info",
                  kvcache_output_info{.struct_size = sizeof(kvcache_output_info),
                                      .name = output.name.c_str(),
                                      .size = output.size});
  });
}

kvcache_status kvcache_model_device_report(const kvcache_model* model, char** report,
                                           size_t* size) noexcept {
  return guard(__func__, [&](const Call& call) {
    char*& text = result(call, report, "report");
    std::size_t& text_size = call.needed(size, "size");
    const std::string made = call.needed(model, "model").model.device_report();
    text = copy_for_caller(made);
    text_size = made.size();
  });
}

kvcache_status kvcache_model_new_sequence(const kvcache_model* model,
                                          kvcache_sequence** sequence) noexcept {
  return guard(__func__, [&](const Call& call) {
    kvcache_sequence*& made = result(call, sequence, "sequence");
    const Model& of = call.needed(model, "model").model;
    made = new_handle<kvcache_sequence>(of.new_sequence(), of);
  });
}

kvcache_status kvcache_model_load_sequence(const kvcache_model* model, const char* path,
                                           kvcache_sequence** sequence) noexcept {
  return guard(__func__, [&](const Call& call) {
    kvcache_sequence*& made = result(call, sequence, "sequence");
    const Model& of = call.needed(model, "model").model;
    made = new_handle<kvcache_sequence>(of.load_sequence(&call.needed(path, "path")), of);
  });
}

kvcache_status kvcache_model_forward_without_cache(const kvcache_model* model,
                                                   const int64_t* tokens, size_t num_tokens,
                                                   kvcache_logits_for logits_for,
                                                   kvcache_logits** logits) noexcept {
  return guard(__func__, [&](const Call& call) {
    kvcache_logits*& made = result(call, logits, "logits");
    made = new_handle<kvcache_logits>(
        call.needed(model, "model")
            .model.forward_without_cache(call.elements(tokens, num_tokens, "tokens"),
                                         call.logits_for(logits_for)));
  });
}

kvcache_status kvcache_model_get_cache_stats(const kvcache_model* model,
                                             kvcache_cache_stats* stats) noexcept {
  return guard(__func__, [&](const Call& call) {
    answer_struct(call, stats, "stats", to_stats(call.needed(model, "model").model.cache_stats()));
  });
}

kvcache_status kvcache_model_get_layer_group_stats(const kvcache_model* model, size_t index,
                                                   kvcache_layer_group_stats* stats) noexcept {
  return guard(__func__, [&](const Call& call) {
    const kvcache::CacheStats all = call.needed(model, "model").model.cache_stats();
    answer_struct(call, stats, "stats",
                  to_stats(element(call, all.groups, index, "group of layers")));
  });
}

kvcache_status kvcache_model_check_cache_invariants(const kvcache_model* model) noexcept {
  return guard(__func__, [&](const Call& call) {
    call.needed(model, "model").model.check_cache_invariants();
  });
}

kvcache_status kvcache_model_reserve_cache(const kvcache_model* model, size_t num_tokens) noexcept {
  return guard(__func__, [&](const Call& call) {
    call.needed(model, "model").model.reserve_cache(num_tokens);
  });
}

kvcache_status kvcache_model_trim_cache(const kvcache_model* model) noexcept {
  return guard(__func__, [&](const Call& call) { call.needed(model, "model").model.trim_cache(); });
}

kvcache_status kvcache_model_move_weights(const kvcache_model* model, bool* moved) noexcept {
  return guard(__func__, [&](const Call& call) {
    bool& answer = call.needed(moved, "moved");
    answer = call.needed(model, "model").model.move_weights();
  });
}

kvcache_status kvcache_model_end_profile(const kvcache_model* model, char** path,
                                         size_t* size) noexcept {
  return guard(__func__, [&](const Call& call) {
    char*& text = result(call, path, "path");
    std::size_t& text_size = call.needed(size, "size");
    const std::string file = call.needed(model, "model").model.end_profile().string();
    text = copy_for_caller(file);
    text_size = file.size();
  });
}
