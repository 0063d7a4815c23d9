#include "c/status.hpp"

namespace kvcache::c {

// One by one: the numbers stay when C++ puts a code between others, and the compiler warns of one
// that has none.
kvcache_status to_status(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::model_not_found:
      return KVCACHE_ERROR_MODEL_NOT_FOUND;
    case ErrorCode::model_invalid:
      return KVCACHE_ERROR_MODEL_INVALID;
    case ErrorCode::config_invalid:
      return KVCACHE_ERROR_CONFIG_INVALID;
    case ErrorCode::config_mismatch:
      return KVCACHE_ERROR_CONFIG_MISMATCH;
    case ErrorCode::digest_mismatch:
      return KVCACHE_ERROR_DIGEST_MISMATCH;
    case ErrorCode::tokenizer_invalid:
      return KVCACHE_ERROR_TOKENIZER_INVALID;
    case ErrorCode::chat_template_invalid:
      return KVCACHE_ERROR_CHAT_TEMPLATE_INVALID;
    case ErrorCode::chat_template_unsupported:
      return KVCACHE_ERROR_CHAT_TEMPLATE_UNSUPPORTED;
    case ErrorCode::contract_violation:
      return KVCACHE_ERROR_CONTRACT_VIOLATION;
    case ErrorCode::device_unavailable:
      return KVCACHE_ERROR_DEVICE_UNAVAILABLE;
    case ErrorCode::invalid_argument:
      return KVCACHE_ERROR_INVALID_ARGUMENT;
    case ErrorCode::empty_input:
      return KVCACHE_ERROR_EMPTY_INPUT;
    case ErrorCode::token_out_of_range:
      return KVCACHE_ERROR_TOKEN_OUT_OF_RANGE;
    case ErrorCode::context_full:
      return KVCACHE_ERROR_CONTEXT_FULL;
    case ErrorCode::cache_full:
      return KVCACHE_ERROR_CACHE_FULL;
    case ErrorCode::out_of_memory:
      return KVCACHE_ERROR_OUT_OF_MEMORY;
    case ErrorCode::system_refused:
      return KVCACHE_ERROR_SYSTEM_REFUSED;
    case ErrorCode::state_not_saved:
      return KVCACHE_ERROR_STATE_NOT_SAVED;
    case ErrorCode::state_invalid:
      return KVCACHE_ERROR_STATE_INVALID;
    case ErrorCode::state_mismatch:
      return KVCACHE_ERROR_STATE_MISMATCH;
    case ErrorCode::run_failed:
      return KVCACHE_ERROR_RUN_FAILED;
    case ErrorCode::logits_invalid:
      return KVCACHE_ERROR_LOGITS_INVALID;
    case ErrorCode::cancelled:
      return KVCACHE_ERROR_CANCELLED;
    case ErrorCode::deadline_exceeded:
      return KVCACHE_ERROR_DEADLINE_EXCEEDED;
    case ErrorCode::queue_full:
      return KVCACHE_ERROR_QUEUE_FULL;
    case ErrorCode::no_token_allowed:
      return KVCACHE_ERROR_NO_TOKEN_ALLOWED;
    case ErrorCode::grammar_invalid:
      return KVCACHE_ERROR_GRAMMAR_INVALID;
    case ErrorCode::grammar_unavailable:
      return KVCACHE_ERROR_GRAMMAR_UNAVAILABLE;
  }
  return KVCACHE_ERROR_RUN_FAILED;
}

}  // namespace kvcache::c

const char* kvcache_status_name(kvcache_status status) noexcept {
  using kvcache::ErrorCode;
  if (status == KVCACHE_OK) {
    return "ok";
  }
  for (int number = 0; number <= static_cast<int>(ErrorCode::grammar_unavailable); ++number) {
    const auto code = static_cast<ErrorCode>(number);
    if (kvcache::c::to_status(code) == status) {
      return kvcache::error_code_name(code).data();  // of a literal, which ends with a zero byte
    }
  }
  return "unknown";
}
