/* Structures of programs that were compiled with another version of kvcache.h. */
#include "test.h"

/* As a later version might have it. */
typedef struct {
  kvcache_model_options known;
  size_t unknown;
} later_options;

TEST(a_shorter_structure_has_defaults) {
  kvcache_model_options options;
  kvcache_model *model = NULL;
  memset(&options, 0xff, sizeof options);
  OK(kvcache_model_options_init(&options, offsetof(kvcache_model_options, cache_bytes)));
  CHECK_EQUAL(options.struct_size, offsetof(kvcache_model_options, cache_bytes));
  CHECK_EQUAL(options.block_len, 0);
  CHECK_EQUAL(options.cache_bytes, SIZE_MAX); /* not a byte more is written, */
  options.block_len = 8;
  OK(kvcache_model_load(model_path("plain"), &options, &model)); /* or read */
  kvcache_cache_stats stats = {0};
  memset(&stats, 0xff, sizeof stats);
  stats.struct_size = offsetof(kvcache_cache_stats, block_bytes);
  OK(kvcache_model_get_cache_stats(model, &stats));
  CHECK_EQUAL(stats.block_len, 8);
  CHECK_EQUAL(stats.block_bytes, SIZE_MAX);
  kvcache_model_destroy(model);
}

TEST(a_longer_structure_must_be_zero_where_it_is_unknown) {
  later_options options;
  kvcache_model *model = NULL;
  memset(&options, 0xff, sizeof options);
  OK(kvcache_model_options_init(&options.known, sizeof options));
  CHECK_EQUAL(options.known.struct_size, sizeof options);
  CHECK_EQUAL(options.unknown, 0);
  OK(kvcache_model_load(model_path("plain"), &options.known, &model));
  kvcache_model_destroy(model);
  options.unknown = (size_t)1 << 8U;
  FAILS(kvcache_model_load(model_path("plain"), &options.known, &model),
        KVCACHE_ERROR_INVALID_ARGUMENT,
        "kvcache_model_load: options asks in byte 97 for what this version of the library, which "
        "knows 96 bytes of it, does not have");
  CHECK(model == NULL);
}

TEST(a_longer_structure_is_filled_with_zeros) {
  kvcache_model *model = load_plain();
  struct {
    kvcache_model_info known;
    size_t unknown[2];
  } info;
  memset(&info, 0xff, sizeof info);
  info.known.struct_size = sizeof info;
  OK(kvcache_model_get_info(model, &info.known));
  CHECK_EQUAL(info.known.vocab_size, VOCAB_SIZE);
  CHECK_EQUAL(info.unknown[0] | info.unknown[1], 0);
  kvcache_model_destroy(model);
}

TEST(sizes_that_no_structure_has) {
  kvcache_model *model = load_plain();
  const size_t sizes[] = {0, 4, 12, 4104, SIZE_MAX, SIZE_MAX - 7};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; ++i) {
    kvcache_model_options options = {0};
    kvcache_model_info info = {0};
    kvcache_model *none = NULL;
    FAILS(kvcache_model_options_init(&options, sizes[i]), KVCACHE_ERROR_INVALID_ARGUMENT,
          "kvcache_model_options_init: struct_size of options is ");
    options.struct_size = sizes[i];
    FAILS(kvcache_model_load(model_path("plain"), &options, &none), KVCACHE_ERROR_INVALID_ARGUMENT,
          "kvcache_model_load: struct_size of options is ");
    info.struct_size = sizes[i];
    FAILS(kvcache_model_get_info(model, &info), KVCACHE_ERROR_INVALID_ARGUMENT,
          "must be what sizeof says of the structure, a multiple of 8 up to 4096");
    CHECK_EQUAL(info.vocab_size, 0);
  }
  kvcache_model_destroy(model);
}

TEST(batches_of_another_version) {
  kvcache_model *model = load_plain();
  kvcache_sequence *sequences[] = {new_sequence(model), new_sequence(model)};
  struct {
    kvcache_extension known;
    size_t unknown;
  } batch[2];
  const int64_t tokens[] = {4, 5};
  kvcache_logits *logits[2] = {NULL, NULL};
  memset(batch, 0, sizeof batch);
  for (size_t i = 0; i < 2; ++i) {
    batch[i].known.struct_size = sizeof batch[i];
    batch[i].known.sequence = sequences[i];
    batch[i].known.tokens = tokens;
    batch[i].known.num_tokens = i + 1;
  }
  OK(kvcache_extend(&batch[0].known, 2, logits));
  CHECK(follows(model, tokens, 1, row_of(logits[0], 0)));
  CHECK(follows(model, tokens, 2, row_of(logits[1], 0)));
  kvcache_logits_destroy(logits[0]);
  kvcache_logits_destroy(logits[1]);
  batch[1].unknown = 1;
  FAILS(kvcache_extend(&batch[0].known, 2, logits), KVCACHE_ERROR_INVALID_ARGUMENT,
        "batch asks in byte 40 for what this version");
  CHECK_EQUAL(length_of(sequences[0]) + length_of(sequences[1]), 3);
  kvcache_sequence_destroy(sequences[0]);
  kvcache_sequence_destroy(sequences[1]);
  kvcache_model_destroy(model);
}
