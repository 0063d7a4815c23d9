"""The names of a checkpoint's tensors: as the family has them, and what may be left out.

Every other tensor is refused, because it might be part of what computes the logits.
"""

import re

from .. import value_heads
from ..errors import ExportError
from ..family import Family

# What torch's wrappers put into a name: DataParallel, compile, FSDP, activation checkpointing.
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")

ADAPTER = re.compile(r"(^base_model\.)|lora_|(^|[._])(adapter|ia3|prompt_encoder|modules_to_save)")
QUANTIZED = re.compile(r"\.(absmax|quant_map|quant_state|SCB|qweight|qzeros|scales|g_idx)(\.|$)")

MERGE = (
    "merge the adapter into the model (with PEFT: merge_and_unload(), then save_pretrained(...))"
)


def canonical(key: str, family: Family) -> str:
    """A stored tensor's name as the family's model with a head has it.

    A module that holds the whole model as its `model`, beside a value head, is a wrapper too.
    """
    parts = [part for part in key.split(".") if part not in WRAPPERS] or [""]
    known = family.first_parts | family.bare_parts
    while parts[0] == "model" and known.intersection(parts[1:2]):
        parts = parts[1:]
    return (family.prefix if parts[0] in family.bare_parts else "") + ".".join(parts)


def is_harmless(name: str, family: Family) -> bool:
    """Whether a tensor of this canonical name bears on no logit."""
    return family.harmless.fullmatch(name) is not None


def unexpected(key: str, where: object) -> ExportError:
    """Why a tensor that is neither expected nor harmless is refused, and what to do."""
    if ADAPTER.search(key):
        return ExportError(f"unexpected tensor {key!r}: it is an adapter's; {MERGE} ({where})")
    if QUANTIZED.search(key):
        return ExportError(
            f"unexpected tensor {key!r}: the checkpoint is quantised; export the original, with"
            f" --weights int8 or int4 if it shall be small ({where})"
        )
    if value_heads.PREFIX in f"{key}.":
        return ExportError(
            f"unexpected tensor {key!r}: what it adds to the value would be lost;"
            f" {value_heads.PARTS} ({where})"
        )
    return ExportError(
        f"unexpected tensor {key!r}: its config has no place for it, and what it adds to the logits"
        f" would be lost; export a checkpoint without it ({where})"
    )
