// The one exception type of the library.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "kvcache/export.hpp"

namespace kvcache {

/// What kind of mistake or failure an Error reports; docs/ERRORS.md has cause and remedy of each.
enum class ErrorCode {
  model_not_found,        ///< a file of the model directory does not exist or cannot be read
  model_invalid,          ///< ONNX Runtime cannot load the graph
  config_invalid,         ///< config.json is not JSON, or a field is missing or out of range
  config_mismatch,        ///< config.json and the graph contradict each other
  digest_mismatch,        ///< a model file is not the one that was exported
  tokenizer_invalid,      ///< a tokenizer's file is damaged, or has a part that is not supported
  chat_template_invalid,  ///< a chat template's file is damaged
  chat_template_unsupported,  ///< the model's chat template cannot be expressed in pieces
  contract_violation,         ///< the graph's inputs or outputs are not those of docs/MODEL_FILE.md
  device_unavailable,         ///< a device that is required cannot be used
  invalid_argument,           ///< an argument breaks a rule that the message states
  empty_input,                ///< no tokens were given
  token_out_of_range,         ///< a token id lies outside the vocabulary
  context_full,               ///< more tokens than the model has positions
  cache_full,                 ///< the cache's byte budget is used up
  out_of_memory,              ///< the system refused memory
  system_refused,             ///< the system refused a thread, a descriptor or the like
  state_not_saved,            ///< a saved state cannot be written
  state_invalid,              ///< a file is no saved state, or is truncated or altered
  state_mismatch,       ///< a saved state is of another model, or of a newer version of the format
  run_failed,           ///< ONNX Runtime reported an error while running the graph
  logits_invalid,       ///< the model computed logits that are not numbers
  cancelled,            ///< a request was cancelled, or its evaluator went away, before it was run
  deadline_exceeded,    ///< a request's deadline passed before it was run
  queue_full,           ///< an evaluator has as many unanswered requests as it may have
  no_token_allowed,     ///< a constraint leaves no token that can follow
  grammar_invalid,      ///< a JSON schema or a regular expression cannot be used
  grammar_unavailable,  ///< xgrammar, which these need, is not there
};

/// The code's name as it is written above, such as "context_full".
KVCACHE_EXPORT std::string_view error_code_name(ErrorCode code) noexcept;

/// Thrown by every call that cannot do what it was asked; the objects involved are as before.
///
/// The message says what was asked, what is the case, which rule that breaks and what to do next.
class KVCACHE_EXPORT Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}

  [[nodiscard]] ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace kvcache
