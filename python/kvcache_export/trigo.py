"""The command export_trigo_kvcache.py: policy and value models of Trigo, as trigoRL trains them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from . import cli
from .errors import ExportError

if TYPE_CHECKING:
    from .sources import Source

DESCRIPTION = """\
Exports a policy and value model of Trigo to ONNX with a key/value cache: one graph with the outputs
logits and value, OUTPUT_DIR/gpt2_with_cache.onnx, its weights in gpt2_with_cache.onnx.data, and
config.json. The file is verified in ONNX Runtime before it is put in place; whatever fails, a model
that was already in OUTPUT_DIR stays as it was.
"""

EXAMPLES = """\
examples:
  export_trigo_kvcache.py --model ./my-model                 config.json and safetensors
  export_trigo_kvcache.py --model outputs/trigo/my-training  its checkpoints/latest.chkpt
  export_trigo_kvcache.py --model best_ep0042.chkpt          one file of torch.save (needs torch)
  export_trigo_kvcache.py --random-init trigo-64 --seed 7    random weights, nothing trained
"""

LATEST = Path("checkpoints", "latest.chkpt")  # in the directory of a training of trigoRL's


def source_of(options: argparse.Namespace) -> Source:
    """What to export; ExportError where it has no value head and that was not asked for."""
    source = _any_source(options)
    if options.policy_only:
        return source.without_value_head()
    if source.spec.value_head is None:
        raise ExportError(
            f"{options.random_init or options.model} has no value head, neither tensors"
            " value_head.* nor value_head in its config; with --policy-only it is exported without"
            " the output value"
        )
    return source


def _any_source(options: argparse.Namespace) -> Source:
    if options.random_init:
        return cli.source_of(options)
    from . import sources

    model = Path(options.model)
    if model.is_file():
        return sources.from_torch_file(model)
    if not (model / "config.json").exists() and (model / LATEST).exists():
        return sources.from_torch_file(model / LATEST)
    return cli.source_of(options)


TRIGO = cli.Command(
    name="export_trigo_kvcache.py",
    description=DESCRIPTION,
    examples=EXAMPLES,
    model=(
        "DIR|FILE|ID",
        "a directory with config.json and safetensors, or of a training of trigoRL; a file of"
        " torch.save (.chkpt, .pt); or a model of the Hugging Face hub",
    ),
    default_model=None,
    architectures="trigo-64, trigo-256",
    source=source_of,
    flags={
        "policy-only": "without the output value, though there may be a value head",
    },
)


def main(arguments: list[str] | None = None) -> int:
    """Runs one export; the process's exit code."""
    return cli.main(arguments, TRIGO)
