#include "program/exit_status.hpp"

namespace kvcache::cli {

ExitStatus exit_status(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::model_not_found:
    case ErrorCode::model_invalid:
    case ErrorCode::config_invalid:
    case ErrorCode::config_mismatch:
    case ErrorCode::digest_mismatch:
    case ErrorCode::tokenizer_invalid:
    case ErrorCode::chat_template_invalid:
    case ErrorCode::chat_template_unsupported:
    case ErrorCode::contract_violation:
    case ErrorCode::device_unavailable:
    case ErrorCode::invalid_argument:
    case ErrorCode::empty_input:
    case ErrorCode::token_out_of_range:
    case ErrorCode::context_full:
    case ErrorCode::state_invalid:
    case ErrorCode::state_mismatch:
    case ErrorCode::grammar_invalid:
    case ErrorCode::grammar_unavailable:
      return kBadInput;
    case ErrorCode::cache_full:
    case ErrorCode::out_of_memory:
    case ErrorCode::system_refused:
    case ErrorCode::state_not_saved:
    case ErrorCode::run_failed:
    case ErrorCode::logits_invalid:
    case ErrorCode::cancelled:
    case ErrorCode::deadline_exceeded:
    case ErrorCode::queue_full:
    case ErrorCode::no_token_allowed:
      return kFailed;
  }
  return kFailed;
}

}  // namespace kvcache::cli
