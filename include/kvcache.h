/* kvcache for C, and for every language that calls C: models, sequences, trees, batches,
 * tokenizers.
 *
 * The same classes, words, units and results as include/kvcache/, behind opaque handles; docs/C.md
 * is the page with an example. C99 or later, and C++.
 *
 * Errors. Every function that can fail returns a kvcache_status: KVCACHE_OK (0), or what kind of
 * mistake or failure it was; kvcache_last_error_message() then has the text, for each thread its
 * own. A failed call leaves its objects as they were, sets what it would have returned by a pointer
 * (a handle, an array, a text) to NULL, and leaves other results untouched. NULL where something is
 * needed, a number that no enumeration has and a size that cannot be are such errors. No C++
 * exception leaves a function.
 *
 * Ownership. A handle belongs to whoever was given it, until its ..._destroy(), which takes NULL,
 * too. Handles may go in any order: each keeps alive what it needs, so a sequence outlives the
 * handle of its model. Texts and arrays that are returned as `char **` or `int64_t **` are the
 * caller's and go with kvcache_free(); those returned as pointers to const belong to the handle
 * that was asked, for as long as its function says. Arguments are read during the call and not
 * kept.
 *
 * Threads. Any number of threads may use a model, a tokenizer, a prefix cache or logits at the same
 * time, and different sequences, also where they share blocks. One sequence, or one text stream, is
 * for one thread at a time, but for functions that take it as const, which may run side by side. No
 * handle may be in use when it is destroyed. A thread must not be cancelled (pthread_cancel) within
 * a call.
 *
 * Versions of structures. Each begins with struct_size, which the caller sets to its own sizeof.
 * Later versions add fields at the end only, and zero means there what was before them. A shorter
 * structure, of a program compiled earlier, has the defaults in what it lacks. A longer one, of a
 * program compiled later, is understood if what this version does not know is zero, and is an error
 * otherwise; where the library fills it, what it does not know becomes zero.
 *
 * Texts are UTF-8; paths are as the system has them; both end with a zero byte where no size is
 * given beside them. What is returned with a size ends with a zero byte as well, not counted.
 */
#ifndef KVCACHE_H
#define KVCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__) && !defined(_WIN32)
#define KVCACHE_EXPORT __attribute__((visibility("default")))
#else
#define KVCACHE_EXPORT
#endif

#ifdef __cplusplus
#define KVCACHE_NOEXCEPT noexcept
extern "C" {
#else
#define KVCACHE_NOEXCEPT
#endif

/* ---- Versions ---- */

/* The version of this header. The library's own, which may be another, is kvcache_version(). */
#define KVCACHE_VERSION_MAJOR 0
#define KVCACHE_VERSION_MINOR 1
#define KVCACHE_VERSION_PATCH 0
#define KVCACHE_VERSION_STRING "0.1.0"

/* Changes when a function, a field or a number of this header goes or means something else, not
 * when one is added. */
#define KVCACHE_ABI_VERSION 1

/* "0.1.0". */
KVCACHE_EXPORT const char *kvcache_version(void) KVCACHE_NOEXCEPT;

/* For programs that load the library when they run: KVCACHE_ABI_VERSION of the library, which must
 * be that of the header that they were written with. */
KVCACHE_EXPORT uint32_t kvcache_abi_version(void) KVCACHE_NOEXCEPT;

/* ---- Errors ---- */

/* docs/ERRORS.md has cause and remedy of each. Numbers stay; later versions may add some. */
typedef int32_t kvcache_status;
enum {
  KVCACHE_OK = 0,
  KVCACHE_ERROR_MODEL_NOT_FOUND = 1,
  KVCACHE_ERROR_MODEL_INVALID = 2,
  KVCACHE_ERROR_CONFIG_INVALID = 3,
  KVCACHE_ERROR_CONFIG_MISMATCH = 4,
  KVCACHE_ERROR_DIGEST_MISMATCH = 5,
  KVCACHE_ERROR_TOKENIZER_INVALID = 6,
  KVCACHE_ERROR_CHAT_TEMPLATE_INVALID = 7,
  KVCACHE_ERROR_CHAT_TEMPLATE_UNSUPPORTED = 8,
  KVCACHE_ERROR_CONTRACT_VIOLATION = 9,
  KVCACHE_ERROR_DEVICE_UNAVAILABLE = 10,
  KVCACHE_ERROR_INVALID_ARGUMENT = 11,
  KVCACHE_ERROR_EMPTY_INPUT = 12,
  KVCACHE_ERROR_TOKEN_OUT_OF_RANGE = 13,
  KVCACHE_ERROR_CONTEXT_FULL = 14,
  KVCACHE_ERROR_CACHE_FULL = 15,
  KVCACHE_ERROR_OUT_OF_MEMORY = 16,
  KVCACHE_ERROR_SYSTEM_REFUSED = 17,
  KVCACHE_ERROR_STATE_NOT_SAVED = 18,
  KVCACHE_ERROR_STATE_INVALID = 19,
  KVCACHE_ERROR_STATE_MISMATCH = 20,
  KVCACHE_ERROR_RUN_FAILED = 21,
  KVCACHE_ERROR_LOGITS_INVALID = 22,
  KVCACHE_ERROR_CANCELLED = 23,
  KVCACHE_ERROR_DEADLINE_EXCEEDED = 24,
  KVCACHE_ERROR_QUEUE_FULL = 25,
  KVCACHE_ERROR_NO_TOKEN_ALLOWED = 26,
  KVCACHE_ERROR_GRAMMAR_INVALID = 27,
  KVCACHE_ERROR_GRAMMAR_UNAVAILABLE = 28
};

/* The name of a status as C++ and Python have it, such as "context_full"; "ok" of KVCACHE_OK,
 * "unknown" of a number that this version does not have. */
KVCACHE_EXPORT const char *kvcache_status_name(kvcache_status status) KVCACHE_NOEXCEPT;

/* What the latest call of this thread that failed was asked, what was the case, which rule that
 * broke and what to do next; "" where none has failed. Calls that succeed leave it. Valid until the
 * next call of this thread that fails. Cut behind 4095 bytes. */
KVCACHE_EXPORT const char *kvcache_last_error_message(void) KVCACHE_NOEXCEPT;

/* Gives back an array or text that belongs to the caller; NULL is fine. */
KVCACHE_EXPORT void kvcache_free(void *memory) KVCACHE_NOEXCEPT;

/* ---- Small words ----
 *
 * Numbers with names are int32_t rather than enumerations: their size is then the same for every
 * compiler, and one that has no name is an error. Fields that are said to be true or false are
 * int32_t too, 1 or 0. */

/* Element type of weights, cache and logits. */
typedef int32_t kvcache_data_type;
enum {
  KVCACHE_DATA_TYPE_FLOAT32 = 0,
  KVCACHE_DATA_TYPE_FLOAT16 = 1,
  KVCACHE_DATA_TYPE_BFLOAT16 = 2,
  KVCACHE_DATA_TYPE_INT8 = 3 /* of a cache only */
};

/* Where a model runs. */
typedef int32_t kvcache_device;
enum {
  KVCACHE_DEVICE_ANY = 0, /* among options: whichever is there, CUDA before the CPU */
  KVCACHE_DEVICE_CPU = 1,
  KVCACHE_DEVICE_CUDA = 2
};

/* Where weights lie on the CPU; include/kvcache/options.hpp says what each costs. */
typedef int32_t kvcache_weight_memory;
enum {
  KVCACHE_WEIGHT_MEMORY_HUGE_PAGES = 0, /* mapped, and moved into huge pages once that pays */
  KVCACHE_WEIGHT_MEMORY_MAPPED = 1,     /* mapped from the file; processes share the memory */
  KVCACHE_WEIGHT_MEMORY_COPIED = 2      /* read into huge pages during the load */
};

/* Which of the new tokens' logits a call returns. The fewer, the cheaper: each row is a product
 * with the whole vocabulary. */
typedef int32_t kvcache_logits_for;
enum { KVCACHE_LOGITS_FOR_LAST = 0, KVCACHE_LOGITS_FOR_ALL = 1 };

/* A token is its id in the vocabulary, in [0, vocab_size); this, where there is none. */
#define KVCACHE_NO_TOKEN ((int64_t)-1)

/* Among the nodes of a tree whose logits are asked for: the prefix's last token, whose logits
 * follow the prefix itself. It is evaluated once more, as one node does. */
#define KVCACHE_PREFIX_NODE ((size_t)-1)

/* Of rewindable_tokens: all, and nothing is given back. */
#define KVCACHE_ALL_TOKENS ((size_t)-1)

typedef struct kvcache_model kvcache_model;
typedef struct kvcache_sequence kvcache_sequence;
typedef struct kvcache_logits kvcache_logits;
typedef struct kvcache_tree_evaluation kvcache_tree_evaluation;
typedef struct kvcache_prefix_cache kvcache_prefix_cache;
typedef struct kvcache_tokenizer kvcache_tokenizer;
typedef struct kvcache_text_stream kvcache_text_stream;

/* ---- Models ---- */

/* Receives one message of `size` bytes, without a newline, from any thread. Must not throw. */
typedef void (*kvcache_log_callback)(void *user_data, const char *message, size_t size);

/* How a model is loaded. kvcache_model_options_init() has the defaults;
 * include/kvcache/options.hpp says more of each field. */
typedef struct kvcache_model_options {
  size_t struct_size;
  size_t block_len;         /* tokens per cache block; 0: 32 */
  size_t cache_bytes;       /* the most that keys and values may take; 0: 16 full sequences */
  size_t rewindable_tokens; /* of the latest, that one can always rewind by; KVCACHE_ALL_TOKENS */
  size_t runs_before_move;  /* after which weights move to huge pages; 256 */
  int32_t num_threads;      /* of one run; 0: as many as there are physical cores */
  kvcache_device require_device;       /* KVCACHE_DEVICE_ANY; another one: an error if not there */
  kvcache_weight_memory weight_memory; /* KVCACHE_WEIGHT_MEMORY_HUGE_PAGES */
  int32_t poison_freed_blocks;         /* for tests: NaN in blocks that are freed; false */
  int32_t verify_digests;              /* of the model's files; true */
  int32_t fuse_steps;                  /* decode steps without ONNX Runtime; true */
  int32_t invariant_results;           /* an error unless results are; false */
  int32_t telemetry;                   /* ONNX Runtime's, left as it is; false: off */
  const char *profile_prefix;          /* of ONNX Runtime's profile; NULL: no profile */
  kvcache_log_callback log; /* warnings of ONNX Runtime and above; NULL: dropped. Called as long as
                               anything of the model lives. */
  void *log_user_data;      /* the callback's first argument */
} kvcache_model_options;

/* Fills with defaults. struct_size: sizeof(kvcache_model_options) of the caller.
 * Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_model_options_init(kvcache_model_options *options,
                                                         size_t struct_size) KVCACHE_NOEXCEPT;

/* Loads a model directory (or its .onnx file). options: NULL for defaults.
 * Errors: model_not_found, model_invalid, config_invalid, config_mismatch, digest_mismatch,
 * contract_violation, device_unavailable, invalid_argument, out_of_memory, system_refused. */
KVCACHE_EXPORT kvcache_status kvcache_model_load(const char *path,
                                                 const kvcache_model_options *options,
                                                 kvcache_model **model) KVCACHE_NOEXCEPT;
KVCACHE_EXPORT void kvcache_model_destroy(kvcache_model *model) KVCACHE_NOEXCEPT;

/* What config.json says about a model. Texts and arrays belong to the model's handle. */
typedef struct kvcache_model_info {
  size_t struct_size;
  const char *model_type;        /* "gpt2" */
  const char *source;            /* where the weights came from */
  const char *weights;           /* of the matrices: a data type, or "int8", "int4", "uint4" */
  const char *activations;       /* what they are multiplied with: as dtype, or "int8" */
  const char *digest;            /* XXH3-128 of the model files, joined */
  kvcache_data_type dtype;       /* of arithmetic and logits */
  kvcache_data_type cache_dtype; /* of keys and values */
  size_t num_layers;
  size_t num_heads;    /* of queries */
  size_t num_kv_heads; /* of keys and values */
  size_t head_dim;
  size_t hidden_size;
  size_t vocab_size;
  size_t max_seq_len;            /* positions, in tokens */
  size_t window;                 /* tokens that one sees at most, itself included; 0: all */
  size_t num_outputs;            /* beside the logits: kvcache_model_get_output_info() */
  int64_t bos_token_id;          /* before a text, or KVCACHE_NO_TOKEN */
  int64_t eos_token_id;          /* behind a text, or KVCACHE_NO_TOKEN */
  int64_t pad_token_id;          /* nothing here needs it; or KVCACHE_NO_TOKEN */
  const int64_t *stop_token_ids; /* [num_stop_token_ids]: each ends what is generated */
  size_t num_stop_token_ids;
  size_t model_bytes;            /* all model files together */
  size_t weight_bytes_per_token; /* what decoding one token has to read */
  size_t kv_vector_bytes;        /* of a key or value of one token and one head */
  size_t cache_bytes_per_token;  /* of keys and values, all layers */
  kvcache_device device;         /* that the model runs on */
  int32_t num_threads;           /* of one run */
  int32_t relative_positions;    /* rotary ones or none: a text's beginning may leave */
  int32_t invariant_results;     /* a token's bits do not depend on what is computed beside it */
} kvcache_model_info;

/* Fills what struct_size has room for. Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_model_get_info(const kvcache_model *model,
                                                     kvcache_model_info *info) KVCACHE_NOEXCEPT;

/* What a model computes beside its logits: a vector for each token whose logits are asked for. */
typedef struct kvcache_output_info {
  size_t struct_size;
  const char *name; /* "hidden_states"; belongs to the model's handle */
  size_t size;      /* elements of the vector */
} kvcache_output_info;

/* Output `index` of num_outputs. Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_model_get_output_info(
    const kvcache_model *model, size_t index, kvcache_output_info *info) KVCACHE_NOEXCEPT;

/* One line: which device the model runs on and why. The caller's, kvcache_free().
 * Errors: invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_model_device_report(const kvcache_model *model, char **report,
                                                          size_t *size) KVCACHE_NOEXCEPT;

/* An empty sequence. It takes memory when it is extended. Errors: invalid_argument, out_of_memory.
 */
KVCACHE_EXPORT kvcache_status kvcache_model_new_sequence(
    const kvcache_model *model, kvcache_sequence **sequence) KVCACHE_NOEXCEPT;

/* A sequence that kvcache_sequence_save() wrote, ready to be extended.
 * Errors: state_invalid, state_mismatch, cache_full, invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_model_load_sequence(
    const kvcache_model *model, const char *path, kvcache_sequence **sequence) KVCACHE_NOEXCEPT;

/* Logits computed from nothing, as a program without a cache would: every token is evaluated,
 * nothing is kept. [1 or num_tokens, vocab_size].
 * Errors: empty_input, token_out_of_range, context_full, invalid_argument, out_of_memory,
 * run_failed, logits_invalid. */
KVCACHE_EXPORT kvcache_status kvcache_model_forward_without_cache(
    const kvcache_model *model, const int64_t *tokens, size_t num_tokens,
    kvcache_logits_for logits_for, kvcache_logits **logits) KVCACHE_NOEXCEPT;

/* The state of a model's cache, all sequences together; include/kvcache/stats.hpp says more. */
typedef struct kvcache_cache_stats {
  size_t struct_size;
  size_t block_len;         /* tokens per block */
  size_t block_bytes;       /* of one block, all layers */
  size_t blocks_in_use;     /* held by sequences */
  size_t blocks_shared;     /* of those, held by more than one */
  size_t blocks_free;       /* allocated, held by nobody */
  size_t blocks_limit;      /* the most that the byte budget permits */
  size_t bytes_in_use;      /* of blocks_in_use */
  size_t bytes_shared;      /* of blocks_shared */
  size_t bytes_free;        /* of blocks_free */
  size_t bytes_allocated;   /* of memory taken from the system now */
  size_t bytes_peak;        /* the most it ever was */
  uint64_t allocations;     /* times memory was taken from the system */
  uint64_t in_place_runs;   /* node runs that wrote new tokens into the cache */
  uint64_t growing_runs;    /* node runs without the cache */
  uint64_t bytes_copied;    /* of cached tokens, from anywhere to anywhere */
  uint64_t tokens_compared; /* of prefixes, by kvcache_sequence_commit() */
  size_t num_groups;        /* of layers that give blocks back apart, or 0 */
} kvcache_cache_stats;

/* Fills what struct_size has room for. Errors: invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_model_get_cache_stats(
    const kvcache_model *model, kvcache_cache_stats *stats) KVCACHE_NOEXCEPT;

/* What the layers with one window take. */
typedef struct kvcache_layer_group_stats {
  size_t struct_size;
  size_t window;        /* tokens that one sees there, itself included; 0: all before it */
  size_t layers;        /* so many have it */
  size_t block_bytes;   /* of one block, in these layers */
  size_t blocks_in_use; /* held by sequences */
  size_t blocks_shared; /* of those, held by more than one */
  size_t blocks_free;   /* allocated, held by nobody */
} kvcache_layer_group_stats;

/* Group `index` of num_groups, the widest window first. Each call looks anew.
 * Errors: invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_model_get_layer_group_stats(
    const kvcache_model *model, size_t index, kvcache_layer_group_stats *stats) KVCACHE_NOEXCEPT;

/* For tests: run_failed, with a message, where a block is not either free, in use or without
 * memory. No other thread may use the cache meanwhile. */
KVCACHE_EXPORT kvcache_status kvcache_model_check_cache_invariants(const kvcache_model *model)
    KVCACHE_NOEXCEPT;

/* Takes the memory for `num_tokens` tokens in all layers now rather than when sequences grow.
 * Errors: cache_full, invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_model_reserve_cache(const kvcache_model *model,
                                                          size_t num_tokens) KVCACHE_NOEXCEPT;

/* Gives the memory of free blocks back to the system. Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_model_trim_cache(const kvcache_model *model) KVCACHE_NOEXCEPT;

/* Moves the weights into the process's own memory now, where they are still mapped, and waits for
 * that. *moved: whether they lie there; false where the system refused memory or a thread.
 * Errors: invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_model_move_weights(const kvcache_model *model,
                                                         bool *moved) KVCACHE_NOEXCEPT;

/* Ends the profile that profile_prefix began; its file. The caller's, kvcache_free().
 * Errors: invalid_argument when no profile was asked for; run_failed, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_model_end_profile(const kvcache_model *model, char **path,
                                                        size_t *size) KVCACHE_NOEXCEPT;

/* ---- Sequences ---- */

KVCACHE_EXPORT void kvcache_sequence_destroy(kvcache_sequence *sequence) KVCACHE_NOEXCEPT;

/* Appends tokens, computing these only; the logits of the last of them or of all,
 * [1 or num_tokens, vocab_size]. They may be the sequence's own.
 * Errors: empty_input, token_out_of_range, context_full, cache_full, invalid_argument,
 * out_of_memory, run_failed, logits_invalid. */
KVCACHE_EXPORT kvcache_status kvcache_sequence_extend(kvcache_sequence *sequence,
                                                      const int64_t *tokens, size_t num_tokens,
                                                      kvcache_logits_for logits_for,
                                                      kvcache_logits **logits) KVCACHE_NOEXCEPT;

/* The same tokens again, on the same cache blocks: no tensor is copied. The two are independent
 * from here on. Errors: invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_sequence_fork(const kvcache_sequence *sequence,
                                                    kvcache_sequence **fork) KVCACHE_NOEXCEPT;

/* Forgets the tokens from `length` on and gives blocks back.
 * Errors: invalid_argument when `length` is above the sequence's, or
 * kvcache_sequence_can_rewind_to() says no. */
KVCACHE_EXPORT kvcache_status kvcache_sequence_rewind(kvcache_sequence *sequence,
                                                      size_t length) KVCACHE_NOEXCEPT;
KVCACHE_EXPORT kvcache_status kvcache_sequence_can_rewind_to(const kvcache_sequence *sequence,
                                                             size_t length,
                                                             bool *can) KVCACHE_NOEXCEPT;

/* Forgets all tokens and gives their blocks back. Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_sequence_reset(kvcache_sequence *sequence) KVCACHE_NOEXCEPT;

/* Number of cached tokens. Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_sequence_length(const kvcache_sequence *sequence,
                                                      size_t *length) KVCACHE_NOEXCEPT;

/* The cached tokens, in order; to be read until the sequence changes or goes.
 * Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_sequence_tokens(const kvcache_sequence *sequence,
                                                      const int64_t **tokens,
                                                      size_t *num_tokens) KVCACHE_NOEXCEPT;

/* The first token whose keys and values are there in all layers: 0, unless they were given back in
 * some (rewindable_tokens). Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_sequence_first_cached(const kvcache_sequence *sequence,
                                                            size_t *first) KVCACHE_NOEXCEPT;

/* Whether the model has positions for `num_tokens` more tokens. Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_sequence_fits(const kvcache_sequence *sequence,
                                                    size_t num_tokens, bool *fits) KVCACHE_NOEXCEPT;

/* Writes tokens, keys and values to a file, which is whole or not there;
 * kvcache_model_load_sequence() reads it. Errors: state_not_saved, invalid_argument, out_of_memory.
 */
KVCACHE_EXPORT kvcache_status kvcache_sequence_save(const kvcache_sequence *sequence,
                                                    const char *path) KVCACHE_NOEXCEPT;

/* ---- Trees ---- */

/* Evaluates a tree of continuations in one run; the sequence stays as it is. Node i is tokens[i]
 * after node parents[i], or after the sequence where parents[i] is -1; parents come before their
 * children. `nodes`, [num_nodes], are those whose logits are returned, in this order; none: all.
 * KVCACHE_PREFIX_NODE among them asks for the logits that follow the sequence itself; the tree may
 * then be empty.
 * Errors: empty_input, token_out_of_range, invalid_argument (a parent that is no earlier node, a
 * node that does not exist), context_full, cache_full, out_of_memory, run_failed, logits_invalid.
 */
KVCACHE_EXPORT kvcache_status
kvcache_sequence_evaluate(const kvcache_sequence *sequence, const int64_t *tokens,
                          const int32_t *parents, size_t num_tokens, const size_t *nodes,
                          size_t num_nodes, kvcache_tree_evaluation **evaluation) KVCACHE_NOEXCEPT;

/* Appends the path from the root to `node` of a tree that was evaluated on this sequence, or on one
 * with the same tokens: nothing is computed. The sequence may have grown along that path since.
 * Errors: invalid_argument when there is no such node or the sequence is another; cache_full,
 * out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_sequence_commit(kvcache_sequence *sequence,
                                                      const kvcache_tree_evaluation *evaluation,
                                                      size_t node) KVCACHE_NOEXCEPT;

/* Row i follows node i, or the i-th of the nodes that were chosen, [rows, vocab_size]. A handle of
 * its own, which shares the memory and may outlive the evaluation.
 * Errors: invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_tree_evaluation_logits(
    const kvcache_tree_evaluation *evaluation, kvcache_logits **logits) KVCACHE_NOEXCEPT;

/* Gives the keys and values of the tree back, which take cache blocks until then. */
KVCACHE_EXPORT void kvcache_tree_evaluation_destroy(kvcache_tree_evaluation *evaluation)
    KVCACHE_NOEXCEPT;

/* ---- Batches ----
 *
 * Elements of a batch all have the struct_size of the first. */

/* Tokens to append to a sequence. */
typedef struct kvcache_extension {
  size_t struct_size;
  kvcache_sequence *sequence;
  const int64_t *tokens; /* [num_tokens] */
  size_t num_tokens;
  kvcache_logits_for logits_for;
  int32_t reserved; /* 0 */
} kvcache_extension;

/* Extends all sequences in one run; logits[i], of `size` handles, are of batch[i]. Sequences may
 * have any lengths, take any numbers of tokens, and share blocks. Errors: as
 * kvcache_sequence_extend(); invalid_argument when a sequence occurs twice or is of another model
 * than the first. All sequences are then as they were and all handles NULL. */
KVCACHE_EXPORT kvcache_status kvcache_extend(const kvcache_extension *batch, size_t size,
                                             kvcache_logits **logits) KVCACHE_NOEXCEPT;

/* A tree to evaluate after a prefix, as kvcache_sequence_evaluate() has it. */
typedef struct kvcache_tree_of_prefix {
  size_t struct_size;
  const kvcache_sequence *prefix;
  const int64_t *tokens;  /* [num_tokens] */
  const int32_t *parents; /* [num_tokens] */
  size_t num_tokens;
  const size_t *nodes; /* [num_nodes], whose logits are wanted */
  size_t num_nodes;    /* 0: of all */
} kvcache_tree_of_prefix;

/* Evaluates all trees in one run; evaluations[i], of `size` handles, is of batch[i]. Prefixes may
 * be the same sequence or share blocks, and stay as they are. Errors: as
 * kvcache_sequence_evaluate(); invalid_argument when prefixes are of different models. All handles
 * are then NULL. */
KVCACHE_EXPORT kvcache_status kvcache_evaluate(const kvcache_tree_of_prefix *batch, size_t size,
                                               kvcache_tree_evaluation **evaluations)
    KVCACHE_NOEXCEPT;

/* ---- Logits ----
 *
 * [rows, vocab_size], left where the run wrote them, unchanged until their handle is destroyed.
 * They are all numbers: a run that computes NaN fails. */

KVCACHE_EXPORT void kvcache_logits_destroy(kvcache_logits *logits) KVCACHE_NOEXCEPT;

/* Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_logits_rows(const kvcache_logits *logits,
                                                  size_t *rows) KVCACHE_NOEXCEPT;
KVCACHE_EXPORT kvcache_status kvcache_logits_vocab_size(const kvcache_logits *logits,
                                                        size_t *vocab_size) KVCACHE_NOEXCEPT;

/* Where logits lie as the run wrote them, without gaps, as long as their handle. */
typedef struct kvcache_logits_memory {
  size_t struct_size;
  const void *data;
  kvcache_data_type type;
  kvcache_device device;
  int32_t device_id; /* of several GPUs */
  int32_t on_host;   /* whether they are in the host's memory */
} kvcache_logits_memory;

/* Fills what struct_size has room for. Errors: invalid_argument, run_failed. */
KVCACHE_EXPORT kvcache_status kvcache_logits_get_memory(
    const kvcache_logits *logits, kvcache_logits_memory *memory) KVCACHE_NOEXCEPT;

/* One row as float32, [vocab_size], valid as long as the handle. No copy for a float32 model on the
 * CPU, otherwise converted on first use. Errors: invalid_argument, out_of_memory, run_failed. */
KVCACHE_EXPORT kvcache_status kvcache_logits_row(const kvcache_logits *logits, size_t row,
                                                 const float **values) KVCACHE_NOEXCEPT;

/* The token with the largest logit of a row, the smallest id when several are equal.
 * Errors: invalid_argument, run_failed. */
KVCACHE_EXPORT kvcache_status kvcache_logits_argmax(const kvcache_logits *logits, size_t row,
                                                    int64_t *token) KVCACHE_NOEXCEPT;

/* The k tokens with the largest logits of a row, largest first, into `tokens` and `values`, [k]
 * each. *count: how many, k or vocab_size, whichever is less. Errors: invalid_argument,
 * out_of_memory, run_failed. */
KVCACHE_EXPORT kvcache_status kvcache_logits_top_k(const kvcache_logits *logits, size_t row,
                                                   size_t k, int64_t *tokens, float *values,
                                                   size_t *count) KVCACHE_NOEXCEPT;

/* The logarithms of the softmax of a row over the whole vocabulary at some tokens, into `values`,
 * [num_tokens]. Errors: invalid_argument, token_out_of_range, out_of_memory, run_failed. */
KVCACHE_EXPORT kvcache_status kvcache_logits_log_probabilities(const kvcache_logits *logits,
                                                               size_t row, const int64_t *tokens,
                                                               size_t num_tokens,
                                                               float *values) KVCACHE_NOEXCEPT;

/* The same of tokens of different rows, in any order: `rows` and `tokens`, [num_tokens] each. One
 * question to the device for all of them, and one pass over each row. Errors: as above. */
KVCACHE_EXPORT kvcache_status kvcache_logits_log_probabilities_of_rows(
    const kvcache_logits *logits, const size_t *rows, const int64_t *tokens, size_t num_tokens,
    float *values) KVCACHE_NOEXCEPT;

/* log of the sum over a row of exp(logit / temperature), in double precision.
 * Errors: invalid_argument (also a temperature that is not above 0 and finite), run_failed. */
KVCACHE_EXPORT kvcache_status kvcache_logits_log_sum_exp(const kvcache_logits *logits, size_t row,
                                                         double temperature,
                                                         double *sum) KVCACHE_NOEXCEPT;

/* What the model computes beside the logits for the token of a row, as float32, [*size], such as a
 * value; valid as long as the handle. Errors: invalid_argument, logits_invalid (the vector holds
 * NaN), out_of_memory, run_failed. */
KVCACHE_EXPORT kvcache_status kvcache_logits_output(const kvcache_logits *logits, const char *name,
                                                    size_t row, const float **values,
                                                    size_t *size) KVCACHE_NOEXCEPT;

/* ---- Prefix caches ---- */

typedef struct kvcache_prefix_cache_options {
  size_t struct_size;
  size_t max_bytes; /* the most memory that known prefixes may hold; 0: half of the model's cache */
} kvcache_prefix_cache_options;

/* Remembers sequences by their tokens and hands out what is known of others
 * (include/kvcache/prefix_cache.hpp). options: NULL for defaults.
 * Errors: invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status
kvcache_prefix_cache_new(const kvcache_model *model, const kvcache_prefix_cache_options *options,
                         kvcache_prefix_cache **cache) KVCACHE_NOEXCEPT;
KVCACHE_EXPORT void kvcache_prefix_cache_destroy(kvcache_prefix_cache *cache) KVCACHE_NOEXCEPT;

/* A sequence that holds the longest known prefix of the tokens, at least one token short of them:
 * extending it by the rest, from kvcache_sequence_length() on, gives their logits.
 * Errors: empty_input, token_out_of_range, context_full, invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status
kvcache_prefix_cache_acquire(kvcache_prefix_cache *cache, const int64_t *tokens, size_t num_tokens,
                             kvcache_sequence **sequence) KVCACHE_NOEXCEPT;

/* How long that prefix is. Holds nothing and counts as no use. Errors: as
 * kvcache_prefix_cache_acquire(). */
KVCACHE_EXPORT kvcache_status kvcache_prefix_cache_longest_match(const kvcache_prefix_cache *cache,
                                                                 const int64_t *tokens,
                                                                 size_t num_tokens,
                                                                 size_t *length) KVCACHE_NOEXCEPT;

/* Remembers the whole blocks of a sequence. Errors: invalid_argument when it is of another model or
 * has given blocks back; out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_prefix_cache_insert(
    kvcache_prefix_cache *cache, const kvcache_sequence *sequence) KVCACHE_NOEXCEPT;

/* Forgets everything. Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_prefix_cache_clear(kvcache_prefix_cache *cache)
    KVCACHE_NOEXCEPT;

typedef struct kvcache_prefix_cache_stats {
  size_t struct_size;
  uint64_t hits;           /* kvcache_prefix_cache_acquire() found at least one token */
  uint64_t misses;         /* or none */
  uint64_t tokens_reused;  /* by all hits together */
  uint64_t blocks_evicted; /* forgotten, for the limit or because others needed memory */
  size_t blocks;           /* known now */
  size_t bytes;            /* of these, whoever else holds them too */
} kvcache_prefix_cache_stats;

/* Fills what struct_size has room for. Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_prefix_cache_get_stats(
    const kvcache_prefix_cache *cache, kvcache_prefix_cache_stats *stats) KVCACHE_NOEXCEPT;

/* ---- Tokenizers ---- */

/* Reads a tokenizer.json, or that of a directory, or the vocab.json and merges.txt of one that has
 * none. Errors: model_not_found, tokenizer_invalid, invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status
kvcache_tokenizer_load(const char *path, kvcache_tokenizer **tokenizer) KVCACHE_NOEXCEPT;

/* Reads the text of a tokenizer.json, [size] bytes.
 * Errors: tokenizer_invalid, invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_tokenizer_from_json(
    const char *text, size_t size, kvcache_tokenizer **tokenizer) KVCACHE_NOEXCEPT;
KVCACHE_EXPORT void kvcache_tokenizer_destroy(kvcache_tokenizer *tokenizer) KVCACHE_NOEXCEPT;

/* How a text becomes tokens. kvcache_encode_options_init() has the defaults. */
typedef struct kvcache_encode_options {
  size_t struct_size;
  int32_t add_special_tokens;     /* those that the tokenizer puts around a text; true */
  int32_t special_tokens_as_text; /* special tokens that are written out in the text are text like
                                     any other: set it for text from strangers; false */
} kvcache_encode_options;

/* Fills with defaults. struct_size: sizeof(kvcache_encode_options) of the caller.
 * Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_encode_options_init(kvcache_encode_options *options,
                                                          size_t struct_size) KVCACHE_NOEXCEPT;

/* How tokens become a text. kvcache_decode_options_init() has the defaults. */
typedef struct kvcache_decode_options {
  size_t struct_size;
  int32_t skip_special_tokens; /* special tokens leave nothing in the text; true */
  int32_t skip_unknown_ids; /* ids that no token has leave nothing in the text; false: an error */
} kvcache_decode_options;

/* Fills with defaults. struct_size: sizeof(kvcache_decode_options) of the caller.
 * Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_decode_options_init(kvcache_decode_options *options,
                                                          size_t struct_size) KVCACHE_NOEXCEPT;

/* The tokens of a text of `size` bytes, [*num_tokens]; the caller's, kvcache_free(), and not NULL
 * where there are none. options: NULL for defaults.
 * Errors: invalid_argument (also: not UTF-8), run_failed (the tokenizer's patterns take too many
 * steps), out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_tokenizer_encode(const kvcache_tokenizer *tokenizer,
                                                       const char *text, size_t size,
                                                       const kvcache_encode_options *options,
                                                       int64_t **tokens,
                                                       size_t *num_tokens) KVCACHE_NOEXCEPT;

/* The text of tokens, [*size] bytes; the caller's, kvcache_free(). Bytes that are no character
 * become U+FFFD. options: NULL for defaults. Errors: token_out_of_range, invalid_argument,
 * out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_tokenizer_decode(const kvcache_tokenizer *tokenizer,
                                                       const int64_t *tokens, size_t num_tokens,
                                                       const kvcache_decode_options *options,
                                                       char **text, size_t *size) KVCACHE_NOEXCEPT;

/* The id of a token by its text as the tokenizer's file has it, such as "</s>", of `size` bytes;
 * KVCACHE_NO_TOKEN where there is none. Errors: invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_tokenizer_token_id(const kvcache_tokenizer *tokenizer,
                                                         const char *token, size_t size,
                                                         int64_t *id) KVCACHE_NOEXCEPT;

/* The reverse; the caller's, kvcache_free(), and NULL where no token has this id.
 * Errors: invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_tokenizer_token(const kvcache_tokenizer *tokenizer,
                                                      int64_t id, char **token,
                                                      size_t *size) KVCACHE_NOEXCEPT;

/* The bytes that a token adds to a text that has begun: maybe a part of a character, none of
 * special tokens. The caller's, kvcache_free(), and NULL where no token has this id. Errors:
 * tokenizer_invalid where tokens have no bytes of their own; invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_tokenizer_bytes(const kvcache_tokenizer *tokenizer,
                                                      int64_t id, char **bytes,
                                                      size_t *size) KVCACHE_NOEXCEPT;

/* Whether a token is special: skipped when decoding. Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_tokenizer_is_special(const kvcache_tokenizer *tokenizer,
                                                           int64_t id,
                                                           bool *special) KVCACHE_NOEXCEPT;

/* One above the largest id. Errors: invalid_argument. */
KVCACHE_EXPORT kvcache_status kvcache_tokenizer_vocab_size(const kvcache_tokenizer *tokenizer,
                                                           size_t *vocab_size) KVCACHE_NOEXCEPT;

/* A text that grows as tokens come. What was returned never changes: bytes that may yet be a part
 * of a character wait. All pieces joined are what kvcache_tokenizer_decode() makes of the same
 * tokens. options: NULL for defaults. Errors: invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_tokenizer_new_text(
    const kvcache_tokenizer *tokenizer, const kvcache_decode_options *options,
    kvcache_text_stream **stream) KVCACHE_NOEXCEPT;
KVCACHE_EXPORT void kvcache_text_stream_destroy(kvcache_text_stream *stream) KVCACHE_NOEXCEPT;

/* What the text has grown by, [*size] bytes, often none; valid until the stream's next call.
 * Errors: token_out_of_range, unless such ids are skipped; invalid_argument, out_of_memory. */
KVCACHE_EXPORT kvcache_status kvcache_text_stream_push(kvcache_text_stream *stream, int64_t token,
                                                       const char **text,
                                                       size_t *size) KVCACHE_NOEXCEPT;

/* What is still waiting: there is no further token. The next one begins another text. As
 * kvcache_text_stream_push(). */
KVCACHE_EXPORT kvcache_status kvcache_text_stream_finish(kvcache_text_stream *stream,
                                                         const char **text,
                                                         size_t *size) KVCACHE_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif
