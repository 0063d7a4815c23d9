#include "kvcache/error.hpp"

namespace kvcache {

std::string_view error_code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::model_not_found:
      return "model_not_found";
    case ErrorCode::model_invalid:
      return "model_invalid";
    case ErrorCode::config_invalid:
      return "config_invalid";
    case ErrorCode::config_mismatch:
      return "config_mismatch";
    case ErrorCode::digest_mismatch:
      return "digest_mismatch";
    case ErrorCode::tokenizer_invalid:
      return "tokenizer_invalid";
    case ErrorCode::chat_template_invalid:
      return "chat_template_invalid";
    case ErrorCode::chat_template_unsupported:
      return "chat_template_unsupported";
    case ErrorCode::contract_violation:
      return "contract_violation";
    case ErrorCode::device_unavailable:
      return "device_unavailable";
    case ErrorCode::invalid_argument:
      return "invalid_argument";
    case ErrorCode::empty_input:
      return "empty_input";
    case ErrorCode::token_out_of_range:
      return "token_out_of_range";
    case ErrorCode::context_full:
      return "context_full";
    case ErrorCode::cache_full:
      return "cache_full";
    case ErrorCode::out_of_memory:
      return "out_of_memory";
    case ErrorCode::system_refused:
      return "system_refused";
    case ErrorCode::state_not_saved:
      return "state_not_saved";
    case ErrorCode::state_invalid:
      return "state_invalid";
    case ErrorCode::state_mismatch:
      return "state_mismatch";
    case ErrorCode::run_failed:
      return "run_failed";
    case ErrorCode::logits_invalid:
      return "logits_invalid";
    case ErrorCode::cancelled:
      return "cancelled";
    case ErrorCode::deadline_exceeded:
      return "deadline_exceeded";
    case ErrorCode::queue_full:
      return "queue_full";
    case ErrorCode::no_token_allowed:
      return "no_token_allowed";
    case ErrorCode::grammar_invalid:
      return "grammar_invalid";
    case ErrorCode::grammar_unavailable:
      return "grammar_unavailable";
  }
  return "unknown";
}

}  // namespace kvcache
