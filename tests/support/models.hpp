// The tiny models the tests run on: exported from tests/goldens by scripts/test.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "kvcache/kvcache.hpp"
#include "support/random_cases.hpp"

namespace kvcache::test {

namespace fs = std::filesystem;

std::string read_file(const fs::path& file);
void write_file(const fs::path& file, const std::string& bytes);

/// The checkpoints; KVCACHE_GOLDENS_DIR names other ones than the repository's.
fs::path goldens_directory();

/// The checkpoints with Hugging Face's logits, by name.
std::vector<std::string> golden_names();

/// What was exported from a checkpoint; KVCACHE_MODELS_DIR names another place.
fs::path model_path(const std::string& golden);

/// What was exported from a checkpoint of tests/goldens/families, in the directory beside that of
/// GPT-2's models.
fs::path family_model_path(const std::string& golden);

/// The graph of a model directory, whatever its family calls it.
fs::path graph_of(const fs::path& model);

/// The same golden's model with float32 arithmetic over an int8 cache, in the directory beside.
fs::path int8_cache_model_path(const std::string& golden);

/// The same golden's model with hidden states as an output, in the directory beside.
fs::path hidden_states_model_path(const std::string& golden);

/// What Hugging Face computed for a golden.
struct Golden {
  std::vector<TokenId> ids;
  std::vector<float> logits;  // [ids, vocab_size]
  std::vector<float> values;  // [ids], of a model with a value head
};

Golden read_golden(const std::string& name);

std::vector<TokenId> random_tokens(Random& random, const ModelInfo& info, std::int64_t count);

/// The type of the models under test: KVCACHE_MODELS_DIR may hold any.
const std::string& models_dtype();

/// The type of their keys and values, which may be narrower.
const std::string& models_cache_dtype();

/// The type of their matrices, which may be narrower.
const std::string& models_weights();

/// What their products multiply the weights with, which may be narrower.
const std::string& models_activations();

/// As long as it lives, models run on the CPU unless they must not.
struct ForcedCpu {
  ForcedCpu();
  ~ForcedCpu();
  ForcedCpu(const ForcedCpu&) = delete;
  ForcedCpu& operator=(const ForcedCpu&) = delete;
};

/// Whether the models under test are those of tests/goldens/families, and not GPT-2's.
bool models_are_families();

/// The tolerance of docs/EXACTNESS.md for the type of the models under test, relative to the
/// largest logit.
double tolerance();

/// The same for Hugging Face's float32 logits: the rounding of weights and cache is in the
/// difference, the noise of random texts is not.
double golden_tolerance();

/// Expects logits to agree `within` this, relative to the largest expected one.
void expect_close(std::span<const float> found, std::span<const float> expected,
                  double within = tolerance());

/// A model with short blocks, so that tiny texts cross many, and with NaN in every freed block.
Model load_poisoned(Random& random);

/// Expects the logits of a forward over `text` that knows no cache, and the same greedy choice (or
/// a tie within the tolerance).
void expect_as_uncached(const Model& model, std::span<const float> found,
                        std::span<const TokenId> text);

/// Expects that an error was thrown with this code and a message that contains `part`.
void expect_code_and_part(const Error& error, ErrorCode code, const std::string& part);

/// Expects `call` to throw Error(code) with a message that contains `part`.
template <typename Call>
void expect_error(ErrorCode code, const std::string& part, const Call& call) {
  try {
    call();
    ADD_FAILURE() << "no error, expected " << error_code_name(code);
  } catch (const Error& error) {
    expect_code_and_part(error, code, part);
  }
}

}  // namespace kvcache::test
