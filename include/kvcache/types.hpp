// The small words that everything else is said with.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kvcache/export.hpp"

namespace kvcache {

/// A token of the vocabulary, in [0, vocab_size).
using TokenId = std::int64_t;

/// Element type of weights, cache and logits; int8 of a cache only.
enum class DataType { float32, float16, bfloat16, int8 };

KVCACHE_EXPORT std::string_view data_type_name(DataType type) noexcept;  // "float32", …
KVCACHE_EXPORT std::size_t data_type_size(DataType type) noexcept;       // in bytes

/// Where a model runs.
enum class Device { cpu, cuda };

KVCACHE_EXPORT std::string_view device_name(Device device) noexcept;  // "cpu", "cuda"

/// What a model computes beside its logits: a vector for each token whose logits are asked for.
struct OutputInfo {
  std::string name;      // "hidden_states"
  std::size_t size = 0;  // of the vector
};

/// What config.json says about a model, checked against the graph at load.
struct KVCACHE_EXPORT ModelInfo {
  std::string model_type;                    // "gpt2"
  std::string source;                        // where the weights came from
  DataType dtype = DataType::float32;        // of arithmetic and logits
  DataType cache_dtype = DataType::float32;  // of keys and values
  std::string weights;                       // of the matrices: also "int8", "int4", "uint4"
  std::string activations;                   // what they are multiplied with: as dtype, or "int8"
  std::size_t num_layers = 0;
  std::size_t num_heads = 0;     // of queries
  std::size_t num_kv_heads = 0;  // of keys and values
  std::size_t head_dim = 0;
  std::size_t hidden_size = 0;
  std::size_t vocab_size = 0;
  std::size_t max_seq_len = 0;
  bool relative_positions = false;  // rotary ones or none: a text's beginning may leave
  std::size_t window = 0;  // tokens that one sees at most, itself included, in any layer; 0: all
  std::vector<OutputInfo> outputs;         // beside the logits; see Logits::output
  std::optional<TokenId> bos_token_id;     // before a text
  std::optional<TokenId> eos_token_id;     // behind a text: the usual of the stop tokens
  std::optional<TokenId> pad_token_id;     // fills rows up elsewhere; nothing here needs it
  std::vector<TokenId> stop_token_ids;     // each ends what is generated: a text or a turn
  std::size_t model_bytes = 0;             // all model files together
  std::size_t weight_bytes_per_token = 0;  // what decoding one token has to read
  std::string digest;                      // XXH3-128 of the model files, joined

  /// Bytes of a key or value of one token and one head: head_dim · sizeof(cache_dtype), and 2 of
  /// its scale where that is int8.
  [[nodiscard]] std::size_t kv_vector_bytes() const noexcept;

  /// Bytes of keys and values of one token: 2 · layers · num_kv_heads · kv_vector_bytes().
  [[nodiscard]] std::size_t cache_bytes_per_token() const noexcept;
};

}  // namespace kvcache
