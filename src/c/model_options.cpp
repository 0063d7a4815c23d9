// How a model is loaded, by kvcache.h's structure.
#include <string_view>

#include "c/boundary.hpp"
#include "c/handles.hpp"
#include "c/structs.hpp"
#include "kvcache/options.hpp"

namespace kvcache::c {
namespace {

kvcache_model_options default_options() {
  const ModelOptions defaults;
  return {.struct_size = sizeof(kvcache_model_options),
          .block_len = defaults.block_len,
          .cache_bytes = defaults.cache_bytes,
          .rewindable_tokens = KVCACHE_ALL_TOKENS,
          .runs_before_move = defaults.runs_before_move,
          .num_threads = defaults.num_threads,
          .require_device = KVCACHE_DEVICE_ANY,
          .weight_memory = KVCACHE_WEIGHT_MEMORY_HUGE_PAGES,
          .poison_freed_blocks = defaults.poison_freed_blocks ? 1 : 0,
          .verify_digests = defaults.verify_digests ? 1 : 0,
          .fuse_steps = defaults.fuse_steps ? 1 : 0,
          .invariant_results = defaults.invariant_results ? 1 : 0,
          .telemetry = defaults.telemetry ? 1 : 0,
          .profile_prefix = nullptr,
          .log = nullptr,
          .log_user_data = nullptr};
}

std::optional<Device> to_device(const Call& call, kvcache_device device) {
  switch (device) {
    case KVCACHE_DEVICE_ANY:
      return std::nullopt;
    case KVCACHE_DEVICE_CPU:
      return Device::cpu;
    case KVCACHE_DEVICE_CUDA:
      return Device::cuda;
    default:
      throw_error(ErrorCode::invalid_argument,
                  "{}: require_device is {}, must be KVCACHE_DEVICE_ANY (0), KVCACHE_DEVICE_CPU "
                  "(1) or KVCACHE_DEVICE_CUDA (2)",
                  call.function(), device);
  }
}

WeightMemory to_weight_memory(const Call& call, kvcache_weight_memory memory) {
  switch (memory) {
    case KVCACHE_WEIGHT_MEMORY_HUGE_PAGES:
      return WeightMemory::huge_pages;
    case KVCACHE_WEIGHT_MEMORY_MAPPED:
      return WeightMemory::mapped;
    case KVCACHE_WEIGHT_MEMORY_COPIED:
      return WeightMemory::copied;
    default:
      throw_error(ErrorCode::invalid_argument,
                  "{}: weight_memory is {}, must be KVCACHE_WEIGHT_MEMORY_HUGE_PAGES (0), "
                  "KVCACHE_WEIGHT_MEMORY_MAPPED (1) or KVCACHE_WEIGHT_MEMORY_COPIED (2)",
                  call.function(), memory);
  }
}

ModelOptions to_options(const Call& call, const kvcache_model_options* options) {
  const kvcache_model_options given =
      options == nullptr ? default_options()
                         : read_struct(call, options, "options", default_options());
  ModelOptions made;
  made.num_threads = given.num_threads;
  made.require_device = to_device(call, given.require_device);
  made.block_len = given.block_len;
  made.cache_bytes = given.cache_bytes;
  if (given.rewindable_tokens != KVCACHE_ALL_TOKENS) {
    made.rewindable_tokens = given.rewindable_tokens;
  }
  made.poison_freed_blocks = call.truth(given.poison_freed_blocks, "poison_freed_blocks");
  made.weight_memory = to_weight_memory(call, given.weight_memory);
  made.runs_before_move = given.runs_before_move;
  made.verify_digests = call.truth(given.verify_digests, "verify_digests");
  made.fuse_steps = call.truth(given.fuse_steps, "fuse_steps");
  made.invariant_results = call.truth(given.invariant_results, "invariant_results");
  made.telemetry = call.truth(given.telemetry, "telemetry");
  if (given.profile_prefix != nullptr) {
    made.profile_prefix = given.profile_prefix;
  }
  if (given.log != nullptr) {
    made.log = [log = given.log, user_data = given.log_user_data](std::string_view message) {
      const std::string text(message);  // ends with a zero byte
      log(user_data, text.c_str(), text.size());
    };
  }
  return made;
}

}  // namespace
}  // namespace kvcache::c

using namespace kvcache::c;

kvcache_status kvcache_model_options_init(kvcache_model_options* options,
                                          size_t struct_size) noexcept {
  return guard(__func__, [&](const Call& call) {
    init_struct(call, options, "options", struct_size, default_options());
  });
}

kvcache_status kvcache_model_load(const char* path, const kvcache_model_options* options,
                                  kvcache_model** model) noexcept {
  return guard(__func__, [&](const Call& call) {
    kvcache_model*& made = result(call, model, "model");
    made = new_handle<kvcache_model>(
        kvcache::Model::load(&call.needed(path, "path"), to_options(call, options)));
  });
}
