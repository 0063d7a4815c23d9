#!/usr/bin/env python3
"""Makes tests/goldens/exports anew: what other exporters make of tiny models, packed.

Run by hand, as the tools need environments of their own (torch and transformers in each):
    make_export_goldens.py checkpoints DIR   Hugging Face's checkpoints and logits (transformers 5)
    make_export_goldens.py optimum DIR       optimum-onnx, which wants transformers 4
    make_export_goldens.py genai DIR         onnxruntime-genai's model builder
    make_export_goldens.py mobius DIR        mobius-onnx
DIR is the same for all and holds the checkpoints.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from pathlib import Path

EXPORTS = Path(__file__).parent / "exports"

# Heads of 16, the fewest that onnxruntime-genai's attention takes; 40 is no whole number of blocks.
MODELS = {
    "qwen2": {
        **{"vocab_size": 37, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2},
        **{"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16},
        **{"max_position_embeddings": 64, "initializer_range": 0.4},
        **{"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0},
    },
    "gpt2": {
        **{"vocab_size": 37, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
        **{"initializer_range": 0.4, "bos_token_id": 0, "eos_token_id": 0},
    },
}
GENAI = {"fp32": "genai-float32", "int4": "genai-int4", "int8": "genai-int8"}
TEXT = 20  # tokens


def checkpoints(scratch: Path) -> None:
    import numpy as np
    import torch
    import transformers
    from make_family_goldens import random_model

    for name, fields in MODELS.items():
        config = transformers.AutoConfig.for_model(name, **fields)
        config._attn_implementation = "eager"
        model, ids = random_model(config, 7)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.to(torch.float16))  # half of a packed file
        model.save_pretrained(scratch / name)
        tokenizer(len_of=fields["vocab_size"]).save_pretrained(scratch / name)
        with torch.no_grad():
            logits = model.double()(torch.tensor([ids[:TEXT]])).logits[0].numpy()
        (EXPORTS / name).mkdir(parents=True, exist_ok=True)
        np.save(EXPORTS / name / "logits.npy", logits.astype(np.float32))
        versions = {"torch": torch.__version__, "transformers": transformers.__version__}
        golden = {"ids": ids[:TEXT], "versions": versions}
        (EXPORTS / name / "golden.json").write_text(json.dumps(golden) + "\n")
        (EXPORTS / name / "config.json").write_text((scratch / name / "config.json").read_text())


def tokenizer(len_of: int):
    """Of a word a token, for onnxruntime-genai's builder asks for one."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = models.WordLevel({f"t{i}": i for i in range(len_of)}, unk_token="t0")
    special = dict.fromkeys(("unk_token", "bos_token", "eos_token", "pad_token"), "t0")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), **special)


def optimum(scratch: Path) -> None:
    from optimum.exporters.onnx import main_export

    for name in MODELS:
        fields = json.loads((scratch / name / "config.json").read_text())
        if rope := fields.pop("rope_parameters", None):
            fields["rope_theta"] = rope["rope_theta"]  # as transformers 4 has it
        (scratch / name / "config.json").write_text(json.dumps(fields))
        made = scratch / f"{name}-optimum"
        task = "text-generation-with-past"
        main_export(str(scratch / name), output=made, task=task, do_validation=False)
        pack(made, name, "optimum")


def genai(scratch: Path) -> None:
    for precision, tool in GENAI.items():
        made = scratch / f"qwen2-{tool}"
        builder = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
        places = ["-i", scratch / "qwen2", "-o", made, "-c", scratch / "cache"]
        subprocess.run([*builder, *places, "-e", "cpu", "-p", precision], check=True)
        pack(made, "qwen2", tool)


def mobius(scratch: Path) -> None:
    made = scratch / "qwen2-mobius"
    command = [Path(sys.executable).parent / "mobius", "build", "--config", scratch / "qwen2"]
    subprocess.run([*command, made, "--optimize"], check=True)
    pack(made, "qwen2", "mobius")


def pack(made: Path, name: str, tool: str) -> None:
    """The graph, its data and genai_config.json, without what would differ from run to run."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
        return entry

    with tarfile.open(EXPORTS / name / f"{tool}.tar.xz", "w:xz", preset=9) as archive:
        for path in sorted(made.glob("*")):
            if path.name.startswith("model.onnx") or path.name == "genai_config.json":
                archive.add(path, path.name, filter=plain)


if __name__ == "__main__":
    {of.__name__: of for of in (checkpoints, optimum, genai, mobius)}[sys.argv[1]](
        Path(sys.argv[2])
    )
