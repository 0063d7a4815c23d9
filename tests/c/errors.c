/* Statuses, their names and messages. */
#include "test.h"

TEST(names_of_statuses) {
  CHECK(strcmp(kvcache_status_name(KVCACHE_OK), "ok") == 0);
  CHECK(strcmp(kvcache_status_name(KVCACHE_ERROR_MODEL_NOT_FOUND), "model_not_found") == 0);
  CHECK(strcmp(kvcache_status_name(KVCACHE_ERROR_CONTEXT_FULL), "context_full") == 0);
  CHECK(strcmp(kvcache_status_name(KVCACHE_ERROR_GRAMMAR_UNAVAILABLE), "grammar_unavailable") == 0);
  CHECK(strcmp(kvcache_status_name(KVCACHE_ERROR_GRAMMAR_UNAVAILABLE + 1), "unknown") == 0);
  CHECK(strcmp(kvcache_status_name(-1), "unknown") == 0);
  CHECK(strcmp(kvcache_status_name(INT32_MIN), "unknown") == 0);
}

TEST(the_message_stays_until_the_next_failure) {
  kvcache_model *model = NULL;
  CHECK(strcmp(kvcache_last_error_message(), "") == 0);
  FAILS(kvcache_model_load(NULL, NULL, &model), KVCACHE_ERROR_INVALID_ARGUMENT,
        "kvcache_model_load: path is NULL, must point to what kvcache.h says of it");
  model = load_plain();
  CHECK(strstr(kvcache_last_error_message(), "path is NULL") != NULL);
  FAILS(kvcache_model_trim_cache(NULL), KVCACHE_ERROR_INVALID_ARGUMENT,
        "kvcache_model_trim_cache: model is NULL");
  kvcache_model_destroy(model);
}

/* Of characters of three bytes: none is cut in two. */
TEST(a_long_message_is_cut_between_characters) {
  static char path[30001];
  static const char euro[] = {'\xe2', '\x82', '\xac'};
  kvcache_model *model = NULL;
  for (size_t i = 0; i + 3 < sizeof path; i += 3) {
    memcpy(path + i, euro, sizeof euro);
  }
  CHECK_EQUAL(kvcache_model_load(path, NULL, &model), KVCACHE_ERROR_MODEL_NOT_FOUND);
  const char *message = kvcache_last_error_message();
  const size_t size = strlen(message);
  CHECK(size > 4092 && size <= 4095);
  CHECK(strcmp(message + size - 3, "\xe2\x82\xac") == 0);
}
