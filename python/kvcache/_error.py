"""The one exception type of the library."""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """What kind of mistake or failure an Error reports; docs/ERRORS.md has cause and remedy."""

    model_not_found = "model_not_found"
    model_invalid = "model_invalid"
    config_invalid = "config_invalid"
    config_mismatch = "config_mismatch"
    digest_mismatch = "digest_mismatch"
    tokenizer_invalid = "tokenizer_invalid"
    chat_template_invalid = "chat_template_invalid"
    chat_template_unsupported = "chat_template_unsupported"
    contract_violation = "contract_violation"
    device_unavailable = "device_unavailable"
    invalid_argument = "invalid_argument"
    empty_input = "empty_input"
    token_out_of_range = "token_out_of_range"
    context_full = "context_full"
    cache_full = "cache_full"
    out_of_memory = "out_of_memory"
    system_refused = "system_refused"
    state_not_saved = "state_not_saved"
    state_invalid = "state_invalid"
    state_mismatch = "state_mismatch"
    run_failed = "run_failed"
    logits_invalid = "logits_invalid"
    cancelled = "cancelled"
    deadline_exceeded = "deadline_exceeded"
    queue_full = "queue_full"
    no_token_allowed = "no_token_allowed"
    grammar_invalid = "grammar_invalid"
    grammar_unavailable = "grammar_unavailable"


class Error(RuntimeError):
    """Raised by every call that cannot do what it was asked; the objects involved are as before.

    The message says what was asked, what is the case, which rule that breaks and what to do next.

    Attributes:
        code: which kind of mistake or failure it is; equal to its name as a str.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = ErrorCode(code)

    def __reduce__(self) -> tuple[type[Error], tuple[str, str]]:
        return type(self), (str(self.code), str(self))
