/* Models: loaded, asked about themselves, and what loading refuses. */
#include "test.h"

TEST(version) {
  CHECK(strcmp(kvcache_version(), KVCACHE_VERSION_STRING) == 0);
  char numbers[32];
  snprintf(numbers, sizeof numbers, "%d.%d.%d", KVCACHE_VERSION_MAJOR, KVCACHE_VERSION_MINOR,
           KVCACHE_VERSION_PATCH);
  CHECK(strcmp(numbers, KVCACHE_VERSION_STRING) == 0);
  CHECK_EQUAL(kvcache_abi_version(), KVCACHE_ABI_VERSION);
}

TEST(model_info) {
  kvcache_model *model = load_plain();
  kvcache_model_info info = {0};
  info.struct_size = sizeof info;
  OK(kvcache_model_get_info(model, &info));
  CHECK_EQUAL(info.struct_size, sizeof info);
  CHECK(strcmp(info.model_type, "gpt2") == 0);
  CHECK(strcmp(info.weights, "float32") == 0);
  CHECK(strcmp(info.activations, "float32") == 0);
  CHECK(strlen(info.source) > 0);
  CHECK(strlen(info.digest) > 0 && strlen(info.digest) % 32 == 0); /* of each file */
  CHECK_EQUAL(info.dtype, KVCACHE_DATA_TYPE_FLOAT32);
  CHECK_EQUAL(info.cache_dtype, KVCACHE_DATA_TYPE_FLOAT32);
  CHECK_EQUAL(info.num_layers, 2);
  CHECK_EQUAL(info.num_kv_heads, info.num_heads);
  CHECK_EQUAL(info.hidden_size, info.num_heads * info.head_dim);
  CHECK_EQUAL(info.vocab_size, VOCAB_SIZE);
  CHECK_EQUAL(info.max_seq_len, MAX_SEQ_LEN);
  CHECK_EQUAL(info.window, 0);
  CHECK_EQUAL(info.num_outputs, 0);
  CHECK_EQUAL(info.pad_token_id, KVCACHE_NO_TOKEN);
  CHECK_EQUAL(info.kv_vector_bytes, info.head_dim * sizeof(float));
  CHECK_EQUAL(info.cache_bytes_per_token, 4 * info.num_heads * info.kv_vector_bytes);
  CHECK(info.model_bytes > info.weight_bytes_per_token);
  CHECK(info.weight_bytes_per_token > 0);
  CHECK_EQUAL(info.device, KVCACHE_DEVICE_CPU);
  CHECK(info.num_threads > 0);
  CHECK_EQUAL(info.relative_positions, 0);
  CHECK_EQUAL(info.invariant_results, 1);
  for (size_t i = 0; i < info.num_stop_token_ids; ++i) {
    CHECK(info.stop_token_ids[i] >= 0);
  }
  kvcache_model_destroy(model);
}

TEST(outputs_beside_the_logits) {
  kvcache_model *model = NULL;
  kvcache_model_info info = {0};
  kvcache_output_info output = {0};
  OK(kvcache_model_load(model_path("value-head"), NULL, &model));
  info.struct_size = sizeof info;
  output.struct_size = sizeof output;
  OK(kvcache_model_get_info(model, &info));
  CHECK_EQUAL(info.num_outputs, 1);
  OK(kvcache_model_get_output_info(model, 0, &output));
  CHECK(strcmp(output.name, "value") == 0);
  CHECK_EQUAL(output.size, 1);
  FAILS(kvcache_model_get_output_info(model, 1, &output), KVCACHE_ERROR_INVALID_ARGUMENT,
        "output 1 was asked for, there are 1");
  CHECK(strcmp(output.name, "value") == 0);

  kvcache_sequence *sequence = new_sequence(model);
  const int64_t tokens[] = {3, 1, 4};
  kvcache_logits *logits = extend(sequence, tokens, 3);
  const float *value = NULL;
  size_t size = 0;
  OK(kvcache_logits_output(logits, "value", 2, &value, &size));
  CHECK_EQUAL(size, 1);
  CHECK(*value >= -1 && *value <= 1);
  FAILS(kvcache_logits_output(logits, "policy", 2, &value, &size), KVCACHE_ERROR_INVALID_ARGUMENT,
        "the model has no output \"policy\" beside its logits; it has value");
  CHECK(value == NULL);
  CHECK_EQUAL(size, 1);
  kvcache_logits_destroy(logits);
  kvcache_sequence_destroy(sequence);
  kvcache_model_destroy(model);
}

TEST(device_report) {
  kvcache_model *model = load_plain();
  char *report = NULL;
  size_t size = 0;
  OK(kvcache_model_device_report(model, &report, &size));
  CHECK_EQUAL(strlen(report), size);
  CHECK(strstr(report, "cpu") != NULL);
  kvcache_free(report);
  kvcache_model_destroy(model);
}

TEST(cache_memory) {
  kvcache_model *model = load_plain();
  kvcache_cache_stats stats = {0};
  stats.struct_size = sizeof stats;
  OK(kvcache_model_reserve_cache(model, 33));
  OK(kvcache_model_get_cache_stats(model, &stats));
  CHECK_EQUAL(stats.block_len, 4);
  CHECK(stats.blocks_free >= 9);
  CHECK_EQUAL(stats.bytes_free, stats.blocks_free * stats.block_bytes);
  CHECK_EQUAL(stats.blocks_in_use + stats.bytes_in_use, 0);
  CHECK_EQUAL(stats.num_groups, 0);
  OK(kvcache_model_trim_cache(model));
  OK(kvcache_model_get_cache_stats(model, &stats));
  CHECK_EQUAL(stats.blocks_free, 0);
  OK(kvcache_model_check_cache_invariants(model));
  FAILS(kvcache_model_reserve_cache(model, SIZE_MAX), KVCACHE_ERROR_CACHE_FULL, "budget");

  kvcache_layer_group_stats group = {0};
  group.struct_size = sizeof group;
  FAILS(kvcache_model_get_layer_group_stats(model, 0, &group), KVCACHE_ERROR_INVALID_ARGUMENT,
        "kvcache_model_get_layer_group_stats: group of layers 0 was asked for, there are 0");
  bool moved = false;
  OK(kvcache_model_move_weights(model, &moved));
  CHECK(moved);
  kvcache_model_destroy(model);
}

TEST(loading_refuses) {
  kvcache_model_options options;
  kvcache_model *model = (kvcache_model *)&options;
  FAILS(kvcache_model_load("/no/such/model", NULL, &model), KVCACHE_ERROR_MODEL_NOT_FOUND,
        "/no/such/model");
  CHECK(model == NULL);
  const char *path = model_path("plain");
  OK(kvcache_model_options_init(&options, sizeof options));
  options.require_device = 7;
  FAILS(kvcache_model_load(path, &options, &model), KVCACHE_ERROR_INVALID_ARGUMENT,
        "require_device is 7, must be KVCACHE_DEVICE_ANY (0)");
  OK(kvcache_model_options_init(&options, sizeof options));
  options.weight_memory = -1;
  FAILS(kvcache_model_load(path, &options, &model), KVCACHE_ERROR_INVALID_ARGUMENT,
        "weight_memory is -1, must be KVCACHE_WEIGHT_MEMORY_HUGE_PAGES (0)");
  OK(kvcache_model_options_init(&options, sizeof options));
  options.fuse_steps = 2;
  FAILS(kvcache_model_load(path, &options, &model), KVCACHE_ERROR_INVALID_ARGUMENT,
        "fuse_steps is 2, must be 0 or 1");
  OK(kvcache_model_options_init(&options, sizeof options));
  options.num_threads = -3;
  FAILS(kvcache_model_load(path, &options, &model), KVCACHE_ERROR_INVALID_ARGUMENT, "-3");
  OK(kvcache_model_options_init(&options, sizeof options));
  options.cache_bytes = 1;
  FAILS(kvcache_model_load(path, &options, &model), KVCACHE_ERROR_INVALID_ARGUMENT, "cache_bytes");
  CHECK(model == NULL);
}

static void count_message(void *user_data, const char *message, size_t size) {
  CHECK(message[size] == '\0');
  ++*(size_t *)user_data;
}

TEST(options_reach_the_model) {
  size_t messages = 0;
  kvcache_model_options options;
  kvcache_model *model = NULL;
  kvcache_model_info info = {0};
  char *path = NULL;
  size_t size = 0;
  OK(kvcache_model_options_init(&options, sizeof options));
  options.num_threads = 2;
  options.require_device = KVCACHE_DEVICE_CPU;
  options.weight_memory = KVCACHE_WEIGHT_MEMORY_COPIED;
  options.rewindable_tokens = 3; /* without effect: no layer has a window */
  options.log = count_message;
  options.log_user_data = &messages;
  /* Its activation is computed by nodes of ONNX Runtime's, of which the second step tells. */
  OK(kvcache_model_load(model_path("unscaled-upcast-silu"), &options, &model));
  info.struct_size = sizeof info;
  OK(kvcache_model_get_info(model, &info));
  CHECK_EQUAL(info.num_threads, 2);
  kvcache_sequence *sequence = new_sequence(model);
  for (int64_t token = 0; token < 4; ++token) {
    extend_and_drop(sequence, &token, 1);
  }
  CHECK(messages > 0);
  kvcache_sequence_destroy(sequence);
  FAILS(kvcache_model_end_profile(model, &path, &size), KVCACHE_ERROR_INVALID_ARGUMENT, "profile");
  kvcache_model_destroy(model);
}

TEST(a_profile) {
  kvcache_model_options options;
  kvcache_model *model = NULL;
  char *path = NULL;
  size_t size = 0;
  OK(kvcache_model_options_init(&options, sizeof options));
  options.profile_prefix = temporary_path();
  OK(kvcache_model_load(model_path("plain"), &options, &model));
  OK(kvcache_model_end_profile(model, &path, &size));
  CHECK(strstr(path, options.profile_prefix) == path);
  CHECK_EQUAL(strlen(path), size);
  CHECK_EQUAL(remove(path), 0);
  kvcache_free(path);
  kvcache_model_destroy(model);
}

TEST(handles_go_in_any_order) {
  kvcache_model *model = load_plain();
  kvcache_sequence *sequence = new_sequence(model);
  const int64_t tokens[] = {5, 6};
  const int32_t parents[] = {-1, 0};
  kvcache_model_destroy(model);
  kvcache_tree_evaluation *tree = NULL;
  kvcache_logits *logits = NULL;
  extend_and_drop(sequence, tokens, 2);
  OK(kvcache_sequence_evaluate(sequence, tokens, parents, 2, NULL, 0, &tree));
  kvcache_sequence_destroy(sequence);
  OK(kvcache_tree_evaluation_logits(tree, &logits));
  kvcache_tree_evaluation_destroy(tree);
  int64_t best = -1;
  OK(kvcache_logits_argmax(logits, 1, &best));
  CHECK(best >= 0 && best < VOCAB_SIZE);
  kvcache_logits_destroy(logits);

  kvcache_model_destroy(NULL);
  kvcache_sequence_destroy(NULL);
  kvcache_logits_destroy(NULL);
  kvcache_tree_evaluation_destroy(NULL);
  kvcache_prefix_cache_destroy(NULL);
  kvcache_tokenizer_destroy(NULL);
  kvcache_text_stream_destroy(NULL);
  kvcache_free(NULL);
}
