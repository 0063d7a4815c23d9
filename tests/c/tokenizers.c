/* Text to tokens and back. */
#include "test.h"

/* Tokens are letters a to c, a pair of them, a special token and the two halves of "é". */
static const char json[] =
    "{\"added_tokens\": [{\"id\": 6, \"content\": \"</s>\", \"special\": true, \"lstrip\": false,"
    " \"rstrip\": false, \"single_word\": false, \"normalized\": false}],"
    " \"pre_tokenizer\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false,"
    " \"trim_offsets\": true, \"use_regex\": true},"
    " \"decoder\": {\"type\": \"ByteLevel\", \"add_prefix_space\": false,"
    " \"trim_offsets\": true, \"use_regex\": true},"
    " \"model\": {\"type\": \"BPE\","
    " \"vocab\": {\"a\": 0, \"b\": 1, \"c\": 2, \"ab\": 3, \"\\u00c3\": 4, \"\\u00a9\": 5},"
    " \"merges\": [\"a b\"]}}";

static kvcache_tokenizer *read_json(void) {
  kvcache_tokenizer *tokenizer = NULL;
  OK(kvcache_tokenizer_from_json(json, sizeof json - 1, &tokenizer));
  return tokenizer;
}

static int encodes_to(const kvcache_tokenizer *tokenizer, const char *text,
                      const kvcache_encode_options *options, const int64_t *expected,
                      size_t count) {
  int64_t *tokens = NULL;
  size_t found = 0;
  OK(kvcache_tokenizer_encode(tokenizer, text, strlen(text), options, &tokens, &found));
  CHECK(tokens != NULL);
  const int same =
      found == count && (count == 0 || memcmp(tokens, expected, count * sizeof *tokens) == 0);
  kvcache_free(tokens);
  return same;
}

static int decodes_to(const kvcache_tokenizer *tokenizer, const int64_t *tokens, size_t count,
                      const kvcache_decode_options *options, const char *expected) {
  char *text = NULL;
  size_t size = 0;
  OK(kvcache_tokenizer_decode(tokenizer, tokens, count, options, &text, &size));
  CHECK_EQUAL(strlen(text), size);
  const int same = strcmp(text, expected) == 0;
  kvcache_free(text);
  return same;
}

TEST(texts_and_tokens) {
  kvcache_tokenizer *tokenizer = read_json();
  const int64_t tokens[] = {2, 3, 6, 4, 5}, unknown[] = {0, 7};
  CHECK(encodes_to(tokenizer, "cab</s>\xc3\xa9", NULL, tokens, 5));
  CHECK(encodes_to(tokenizer, "", NULL, NULL, 0));
  CHECK(decodes_to(tokenizer, tokens, 5, NULL, "cab\xc3\xa9"));
  CHECK(decodes_to(tokenizer, tokens, 4, NULL, "cab\xef\xbf\xbd"));
  CHECK(decodes_to(tokenizer, NULL, 0, NULL, ""));
  kvcache_decode_options options;
  OK(kvcache_decode_options_init(&options, sizeof options));
  CHECK_EQUAL(options.skip_special_tokens, 1);
  CHECK_EQUAL(options.skip_unknown_ids, 0);
  options.skip_special_tokens = 0;
  CHECK(decodes_to(tokenizer, tokens, 5, &options, "cab</s>\xc3\xa9"));
  options.skip_unknown_ids = 1;
  CHECK(decodes_to(tokenizer, unknown, 2, &options, "a"));

  kvcache_encode_options encoding;
  OK(kvcache_encode_options_init(&encoding, sizeof encoding));
  CHECK_EQUAL(encoding.add_special_tokens, 1);
  CHECK_EQUAL(encoding.special_tokens_as_text, 0);
  encoding.special_tokens_as_text = 1;
  const int64_t letters[] = {2};
  CHECK(encodes_to(tokenizer, "c</s>", &encoding, letters, 1)); /* no token has < or s */
  kvcache_tokenizer_destroy(tokenizer);
}

TEST(single_tokens) {
  kvcache_tokenizer *tokenizer = read_json();
  int64_t id = 0;
  char *text = NULL;
  size_t size = 9, vocab_size = 0;
  bool special = false;
  OK(kvcache_tokenizer_token_id(tokenizer, "ab", 2, &id));
  CHECK_EQUAL(id, 3);
  OK(kvcache_tokenizer_token_id(tokenizer, "abc", 3, &id));
  CHECK_EQUAL(id, KVCACHE_NO_TOKEN);
  OK(kvcache_tokenizer_token(tokenizer, 3, &text, &size));
  CHECK(strcmp(text, "ab") == 0);
  CHECK_EQUAL(size, 2);
  kvcache_free(text);
  OK(kvcache_tokenizer_token(tokenizer, 7, &text, &size));
  CHECK(text == NULL);
  CHECK_EQUAL(size, 0);
  OK(kvcache_tokenizer_bytes(tokenizer, 4, &text, &size));
  CHECK_EQUAL(size, 1);
  CHECK(strcmp(text, "\xc3") == 0);
  kvcache_free(text);
  OK(kvcache_tokenizer_bytes(tokenizer, 6, &text, &size));
  CHECK(text != NULL);
  CHECK_EQUAL(size, 0);
  kvcache_free(text);
  OK(kvcache_tokenizer_bytes(tokenizer, -5, &text, &size));
  CHECK(text == NULL);
  OK(kvcache_tokenizer_is_special(tokenizer, 6, &special));
  CHECK(special);
  OK(kvcache_tokenizer_is_special(tokenizer, INT64_MIN, &special));
  CHECK(!special);
  OK(kvcache_tokenizer_vocab_size(tokenizer, &vocab_size));
  CHECK_EQUAL(vocab_size, 7);
  kvcache_tokenizer_destroy(tokenizer);
}

TEST(a_text_that_grows) {
  kvcache_tokenizer *tokenizer = read_json();
  kvcache_text_stream *stream = NULL;
  const int64_t tokens[] = {3, 4, 5, 6, 4};
  const char *expected[] = {"ab", "", "\xc3\xa9", "", ""};
  const char *piece = NULL;
  size_t size = 0;
  OK(kvcache_tokenizer_new_text(tokenizer, NULL, &stream));
  kvcache_tokenizer_destroy(tokenizer);
  for (int text = 0; text < 2; ++text) {
    for (size_t i = 0; i < 5; ++i) {
      OK(kvcache_text_stream_push(stream, tokens[i], &piece, &size));
      CHECK(strcmp(piece, expected[i]) == 0);
      CHECK_EQUAL(strlen(piece), size);
    }
    FAILS(kvcache_text_stream_push(stream, 99, &piece, &size), KVCACHE_ERROR_TOKEN_OUT_OF_RANGE,
          "99");
    CHECK(piece == NULL);
    OK(kvcache_text_stream_finish(stream, &piece, &size));
    CHECK(strcmp(piece, "\xef\xbf\xbd") == 0);
  }
  kvcache_text_stream_destroy(stream);
}

TEST(wrong_texts) {
  kvcache_tokenizer *tokenizer = read_json(), *none = tokenizer;
  int64_t *tokens = NULL;
  char *text = NULL;
  size_t count = 42;
  const int64_t unknown[] = {0, 7};
  FAILS(kvcache_tokenizer_encode(tokenizer, "a\xff", 2, NULL, &tokens, &count),
        KVCACHE_ERROR_INVALID_ARGUMENT, "UTF-8");
  FAILS(kvcache_tokenizer_encode(tokenizer, "a", SIZE_MAX, NULL, &tokens, &count),
        KVCACHE_ERROR_INVALID_ARGUMENT, "elements of text were given, which no memory can hold");
  FAILS(kvcache_tokenizer_encode(tokenizer, NULL, 1, NULL, &tokens, &count),
        KVCACHE_ERROR_INVALID_ARGUMENT, "kvcache_tokenizer_encode: text is NULL");
  FAILS(kvcache_tokenizer_decode(tokenizer, unknown, 2, NULL, &text, &count),
        KVCACHE_ERROR_TOKEN_OUT_OF_RANGE, "7");
  kvcache_decode_options options;
  OK(kvcache_decode_options_init(&options, sizeof options));
  options.skip_unknown_ids = -1;
  FAILS(kvcache_tokenizer_decode(tokenizer, unknown, 2, &options, &text, &count),
        KVCACHE_ERROR_INVALID_ARGUMENT, "skip_unknown_ids is -1, must be 0 or 1");
  CHECK(tokens == NULL && text == NULL);
  CHECK_EQUAL(count, 42);
  kvcache_tokenizer_destroy(tokenizer);
  FAILS(kvcache_tokenizer_from_json("{}", 2, &none), KVCACHE_ERROR_TOKENIZER_INVALID, "model");
  CHECK(none == NULL);
  FAILS(kvcache_tokenizer_load("/no/such/tokenizer", &none), KVCACHE_ERROR_MODEL_NOT_FOUND,
        "/no/such/tokenizer");
}
