/* Memory that the system refuses: each function, with its first, its second, … allocation failing
 * until it succeeds. Each time it says out_of_memory, gives no handle and has changed nothing.
 *
 * Loading is left out: nlohmann-json's destructor, which cannot bear it (docs/ERRORS.md), has no
 * name in a library that shows C's alone, and tests/inference/faults_test.cpp has it.
 *
 * This program has C++'s operators new and delete, which takes them from under the library. Those
 * of ONNX Runtime's code, and of whoever is called by it, are left alone. */
#define _GNU_SOURCE /* dladdr() */
#include <dlfcn.h>
#include <execinfo.h>

#include "test.h"

#if defined(__has_feature) /* clang */
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZER
#endif
#endif
#if defined(__SANITIZE_THREAD__) || defined(THREAD_SANITIZER)
#define CAN_FAIL 0 /* it calls the operators before it can bear theirs to be taken */
#else
#define CAN_FAIL 1
#endif

static size_t failing = 0; /* the allocation that fails, counted from 1; 0: none */
static size_t counted = 0;

#if CAN_FAIL
void throw_bad_alloc(void) __asm__("_ZSt17__throw_bad_allocv"); /* libstdc++'s */

/* Whether the library asks, itself or by way of others, such as C++'s; but not of ONNX Runtime. */
static int is_asked_by_the_library(void) {
  void *frames[24];
  const int depth = backtrace(frames, 24);
  for (int i = 0; i < depth; ++i) {
    Dl_info found;
    if (dladdr(frames[i], &found) == 0 || found.dli_fname == NULL ||
        strstr(found.dli_fname, "libonnxruntime") != NULL) {
      return 0;
    }
    if (strstr(found.dli_fname, "libkvcache") != NULL) {
      return 1;
    }
  }
  return 0;
}

static void *allocate(size_t alignment, size_t size) {
  void *memory = NULL;
  if (failing != 0 && is_asked_by_the_library() && ++counted == failing) {
    return NULL;
  }
  size = size == 0 ? 1 : size;
  return posix_memalign(&memory, alignment < 16 ? 16 : alignment, size) == 0 ? memory : NULL;
}

static void *allocate_or_throw(size_t alignment, size_t size) {
  void *memory = allocate(alignment, size);
  if (memory == NULL) {
    throw_bad_alloc();
  }
  return memory;
}

#define OPERATOR(name, symbol, parameters, ...) \
  void *name parameters __asm__(symbol);        \
  void *name parameters { return __VA_ARGS__; }
#define DELETE(name, symbol)               \
  void name(void *memory) __asm__(symbol); \
  void name(void *memory) { free(memory); }

OPERATOR(new_one, "_Znwm", (size_t size), allocate_or_throw(0, size))
OPERATOR(new_array, "_Znam", (size_t size), allocate_or_throw(0, size))
OPERATOR(new_aligned, "_ZnwmSt11align_val_t", (size_t size, size_t alignment),
         allocate_or_throw(alignment, size))
OPERATOR(new_array_aligned, "_ZnamSt11align_val_t", (size_t size, size_t alignment),
         allocate_or_throw(alignment, size))
OPERATOR(new_nothrow, "_ZnwmRKSt9nothrow_t", (size_t size), allocate(0, size))
OPERATOR(new_array_nothrow, "_ZnamRKSt9nothrow_t", (size_t size), allocate(0, size))
/* They have more arguments, which nobody needs. */
DELETE(delete_one, "_ZdlPv")
DELETE(delete_array, "_ZdaPv")
DELETE(delete_sized, "_ZdlPvm")
DELETE(delete_array_sized, "_ZdaPvm")
DELETE(delete_aligned, "_ZdlPvSt11align_val_t")
DELETE(delete_array_aligned, "_ZdaPvSt11align_val_t")
DELETE(delete_sized_aligned, "_ZdlPvmSt11align_val_t")
DELETE(delete_array_sized_aligned, "_ZdaPvmSt11align_val_t")
#endif

/* What the calls are made on. */
typedef struct {
  kvcache_model *model;
  kvcache_tokenizer *tokenizer;
  kvcache_prefix_cache *cache;
  kvcache_sequence *sequence; /* has `tokens` */
  kvcache_tree_evaluation *tree;
  kvcache_logits *logits;
  const char *path; /* of a saved state */
} objects;

static const int64_t tokens[] = {1, 2, 3, 4, 5, 6, 7};
static const int32_t parents[] = {-1, 0, 0};
enum { COUNT = 7 };

/* One call that makes something, which goes again if it succeeds; what it gave otherwise must be
 * NULL. */
typedef kvcache_status (*attempt)(objects *with);

static kvcache_status new_empty(objects *with) {
  kvcache_sequence *made = NULL;
  const kvcache_status status = kvcache_model_new_sequence(with->model, &made);
  CHECK((status == KVCACHE_OK) == (made != NULL));
  kvcache_sequence_destroy(made);
  return status;
}

static kvcache_status extend_it(objects *with) {
  kvcache_logits *made = NULL;
  const kvcache_status status =
      kvcache_sequence_extend(with->sequence, tokens, 3, KVCACHE_LOGITS_FOR_ALL, &made);
  CHECK((status == KVCACHE_OK) == (made != NULL));
  kvcache_logits_destroy(made);
  return status;
}

static kvcache_status extend_batch(objects *with) {
  kvcache_extension batch[2];
  kvcache_logits *made[2] = {NULL, NULL};
  memset(batch, 0, sizeof batch);
  kvcache_sequence *second = NULL;
  const size_t armed = failing;
  failing = 0;
  OK(kvcache_sequence_fork(with->sequence, &second));
  failing = armed;
  for (size_t i = 0; i < 2; ++i) {
    batch[i].struct_size = sizeof batch[i];
    batch[i].sequence = i == 0 ? with->sequence : second;
    batch[i].tokens = tokens;
    batch[i].num_tokens = 2 + i;
  }
  const kvcache_status status = kvcache_extend(batch, 2, made);
  for (size_t i = 0; i < 2; ++i) {
    CHECK((status == KVCACHE_OK) == (made[i] != NULL));
    kvcache_logits_destroy(made[i]);
  }
  if (status != KVCACHE_OK) {
    failing = 0;
    CHECK(has_tokens(second, tokens, COUNT));
  }
  kvcache_sequence_destroy(second);
  return status;
}

static kvcache_status fork_it(objects *with) {
  kvcache_sequence *made = NULL;
  const kvcache_status status = kvcache_sequence_fork(with->sequence, &made);
  CHECK((status == KVCACHE_OK) == (made != NULL));
  kvcache_sequence_destroy(made);
  return status;
}

static kvcache_status evaluate_it(objects *with) {
  kvcache_tree_evaluation *made = NULL;
  const kvcache_status status =
      kvcache_sequence_evaluate(with->sequence, tokens, parents, 3, NULL, 0, &made);
  CHECK((status == KVCACHE_OK) == (made != NULL));
  kvcache_tree_evaluation_destroy(made);
  return status;
}

static kvcache_status evaluate_batch(objects *with) {
  kvcache_tree_of_prefix batch[2];
  kvcache_tree_evaluation *made[2] = {NULL, NULL};
  memset(batch, 0, sizeof batch);
  for (size_t i = 0; i < 2; ++i) {
    batch[i].struct_size = sizeof batch[i];
    batch[i].prefix = with->sequence;
    batch[i].tokens = tokens;
    batch[i].parents = parents;
    batch[i].num_tokens = 2 + i;
  }
  const kvcache_status status = kvcache_evaluate(batch, 2, made);
  for (size_t i = 0; i < 2; ++i) {
    CHECK((status == KVCACHE_OK) == (made[i] != NULL));
    kvcache_tree_evaluation_destroy(made[i]);
  }
  return status;
}

static kvcache_status commit_it(objects *with) {
  return kvcache_sequence_commit(with->sequence, with->tree, 2);
}

static kvcache_status share_logits(objects *with) {
  kvcache_logits *made = NULL;
  const kvcache_status status = kvcache_tree_evaluation_logits(with->tree, &made);
  CHECK((status == KVCACHE_OK) == (made != NULL));
  kvcache_logits_destroy(made);
  return status;
}

static kvcache_status rank(objects *with) {
  int64_t ranked[5];
  float scores[5];
  size_t count = 42;
  const kvcache_status status = kvcache_logits_top_k(with->logits, 0, 5, ranked, scores, &count);
  CHECK_EQUAL(count, status == KVCACHE_OK ? 5 : 42);
  return status;
}

static kvcache_status forward(objects *with) {
  kvcache_logits *made = NULL;
  const kvcache_status status =
      kvcache_model_forward_without_cache(with->model, tokens, 3, KVCACHE_LOGITS_FOR_LAST, &made);
  CHECK((status == KVCACHE_OK) == (made != NULL));
  kvcache_logits_destroy(made);
  return status;
}

static kvcache_status save_state(objects *with) {
  return kvcache_sequence_save(with->sequence, with->path);
}

static kvcache_status report(objects *with) {
  char *text = NULL;
  size_t size = 0;
  const kvcache_status status = kvcache_model_device_report(with->model, &text, &size);
  CHECK((status == KVCACHE_OK) == (text != NULL));
  kvcache_free(text);
  return status;
}

static kvcache_status encode(objects *with) {
  int64_t *made = NULL;
  size_t count = 42;
  const kvcache_status status =
      kvcache_tokenizer_encode(with->tokenizer, "aabbaa", 6, NULL, &made, &count);
  CHECK((status == KVCACHE_OK) == (made != NULL));
  CHECK(status == KVCACHE_OK || count == 42);
  kvcache_free(made);
  return status;
}

static kvcache_status stream(objects *with) {
  kvcache_text_stream *made = NULL;
  const kvcache_status status = kvcache_tokenizer_new_text(with->tokenizer, NULL, &made);
  CHECK((status == KVCACHE_OK) == (made != NULL));
  kvcache_text_stream_destroy(made);
  return status;
}

static kvcache_status insert(objects *with) {
  return kvcache_prefix_cache_insert(with->cache, with->sequence);
}

static kvcache_status acquire(objects *with) {
  kvcache_sequence *made = NULL;
  const kvcache_status status = kvcache_prefix_cache_acquire(with->cache, tokens, COUNT, &made);
  CHECK((status == KVCACHE_OK) == (made != NULL));
  kvcache_sequence_destroy(made);
  return status;
}

static kvcache_status new_cache(objects *with) {
  kvcache_prefix_cache *made = NULL;
  const kvcache_status status = kvcache_prefix_cache_new(with->model, NULL, &made);
  CHECK((status == KVCACHE_OK) == (made != NULL));
  kvcache_prefix_cache_destroy(made);
  return status;
}

static objects make_objects(void) {
  static const char json[] =
      "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0, \"b\": 1}, \"merges\": []}}";
  objects made = {NULL, NULL, NULL, NULL, NULL, NULL, temporary_path()};
  made.model = load_plain();
  OK(kvcache_tokenizer_from_json(json, sizeof json - 1, &made.tokenizer));
  OK(kvcache_prefix_cache_new(made.model, NULL, &made.cache));
  made.sequence = new_sequence(made.model);
  made.logits = extend(made.sequence, tokens, COUNT);
  OK(kvcache_sequence_evaluate(made.sequence, tokens, parents, 3, NULL, 0, &made.tree));
  OK(kvcache_sequence_save(made.sequence, made.path));
  return made;
}

/* How often the call failed before it succeeded. */
static size_t fail_one_by_one(attempt call, objects *with) {
  const size_t before = blocks_in_use(with->model);
  for (size_t n = 1;; ++n) {
    CHECK(n < 1000);
    failing = n;
    counted = 0;
    const kvcache_status status = call(with);
    failing = 0;
    if (status == KVCACHE_OK) {
      OK(kvcache_sequence_rewind(with->sequence, COUNT));
      return n - 1;
    }
    FAILS(status, KVCACHE_ERROR_OUT_OF_MEMORY, "memory");
    CHECK(has_tokens(with->sequence, tokens, COUNT));
    CHECK_EQUAL(blocks_in_use(with->model), before);
    OK(kvcache_model_check_cache_invariants(with->model));
  }
}

TEST(memory_is_refused) {
  const struct {
    const char *name;
    attempt call;
    size_t at_least; /* so many allocations of the library */
  } calls[] = {{"extend", extend_it, 1},
               {"extend a batch", extend_batch, 2},
               {"fork", fork_it, 1},
               {"evaluate", evaluate_it, 1},
               {"evaluate a batch", evaluate_batch, 2},
               {"commit", commit_it, 1},
               {"logits of a tree", share_logits, 1},
               {"top k", rank, 1},
               {"forward", forward, 1},
               {"new sequence", new_empty, 1},
               {"save a state", save_state, 1},
               {"device report", report, 1},
               {"encode", encode, 1},
               {"new text", stream, 1},
               {"insert a prefix", insert, 1},
               {"acquire a prefix", acquire, 1},
               {"new prefix cache", new_cache, 1}};
  if (!CAN_FAIL) {
    printf("the thread sanitiser cannot bear its operators to be taken\n");
    exit(SKIPPED);
  }
  void *loaded[1];
  (void)backtrace(loaded, 1); /* it allocates the first time */
  objects with = make_objects();
  for (size_t i = 0; i < sizeof calls / sizeof *calls; ++i) {
    const size_t failed = fail_one_by_one(calls[i].call, &with);
    printf("%s: %zu\n", calls[i].name, failed);
    fflush(stdout);
    CHECK(failed >= calls[i].at_least);
  }
  kvcache_logits *logits = extend(with.sequence, tokens, 1);
  const int64_t all[] = {1, 2, 3, 4, 5, 6, 7, 1};
  CHECK(follows(with.model, all, 8, row_of(logits, 0)));
  kvcache_logits_destroy(logits);
  kvcache_logits_destroy(with.logits);
  kvcache_tree_evaluation_destroy(with.tree);
  kvcache_sequence_destroy(with.sequence);
  kvcache_prefix_cache_destroy(with.cache);
  kvcache_tokenizer_destroy(with.tokenizer);
  kvcache_model_destroy(with.model);
}
