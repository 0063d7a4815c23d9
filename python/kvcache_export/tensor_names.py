"""The names of a checkpoint's tensors: which are a GPT-2's, and which may be left out.

Every other tensor is refused, because it might be part of what computes the logits.
"""

from __future__ import annotations

import re

from .errors import ExportError

PREFIX = "transformer."

# Parts of the bare GPT2Model, which saves its tensors without PREFIX.
BARE_PARTS = ("wte", "wpe", "h", "ln_f")

# What torch's wrappers put into a name: DataParallel, compile, FSDP, activation checkpointing.
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")

# The causal mask and its fill value, which older checkpoints hold; Hugging Face ignores them too.
MASK_BUFFER = re.compile(r"transformer\.h\.\d+\.attn\.(masked_)?bias")

# Heads beside the language model's, which read its hidden states and change none of its logits:
# multiple choice (GPT2DoubleHeadsModel), sequences, tokens, questions, and TRL's value head.
OTHER_HEADS = ("multiple_choice_head", "score", "classifier", "qa_outputs", "v_head")

ADAPTER = re.compile(r"(^base_model\.)|lora_|(^|[._])(adapter|ia3|prompt_encoder|modules_to_save)")
QUANTIZED = re.compile(r"\.(absmax|quant_map|quant_state|SCB|qweight|qzeros|scales|g_idx)(\.|$)")

MERGE = (
    "merge the adapter into the model (with PEFT: merge_and_unload(), then save_pretrained(...))"
)


def canonical(key: str) -> str:
    """A stored tensor's name as GPT2LMHeadModel has it."""
    parts = [part for part in key.split(".") if part not in WRAPPERS]
    return (PREFIX if parts and parts[0] in BARE_PARTS else "") + ".".join(parts)


def is_harmless(name: str) -> bool:
    """Whether a tensor of this canonical name bears on no logit."""
    return MASK_BUFFER.fullmatch(name) is not None or name.partition(".")[0] in OTHER_HEADS


def unexpected(key: str, where: object) -> ExportError:
    """Why a tensor that is neither expected nor harmless is refused, and what to do."""
    if ADAPTER.search(key):
        return ExportError(f"unexpected tensor {key!r}: it is an adapter's; {MERGE} ({where})")
    if QUANTIZED.search(key):
        return ExportError(
            f"unexpected tensor {key!r}: the checkpoint is quantised; export the original, with"
            f" --weights int8 or int4 if it shall be small ({where})"
        )
    return ExportError(
        f"unexpected tensor {key!r}: its config has no place for it, and what it adds to the logits"
        f" would be lost; export a checkpoint without it ({where})"
    )
