#!/usr/bin/env python3
"""Makes the goldens anew: tiny GPT-2 variants with Hugging Face's logits and greedy tokens.

Needs torch and transformers, which nothing else here does, and is therefore run by hand:
    python tests/goldens/make_goldens.py [NAME ...]
Every variant gets a directory beside this file:
    config.json, model.safetensors   as `save_pretrained` writes them
    golden.json                      token ids, the greedy continuation, seed, versions
    logits.npy                       float32 [tokens, vocab_size], of `ids`
    values.npy                       float32 [tokens], of `ids`, where there is a value head
Logits are computed in float64, so that they are the mathematical result to float32's last place.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2LMHeadModel, PretrainedConfig

SEED = 20240229
TOKENS = 24
PROMPT = 8  # leading ids that the greedy continuation starts from
NEW_TOKENS = 32

# With the usual deviation of 0.02 a random GPT-2 attends evenly to everything, and its logits are
# all alike. A larger one lets every weight matter.
DEVIATION = 0.3

# A greedy token is only worth comparing if its logit leads by more than float32 can be wrong.
MIN_LEAD = 1e-2

# The element type of the checkpoint, where it isn't float32.
STORED_AS = {
    "untied-head": torch.bfloat16,
    "unscaled-upcast-silu": torch.float16,
    "one-head-of-27-quick-gelu": torch.float16,
    "two-heads-of-64": torch.float16,
}

VARIANTS = {
    "plain": {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4},
    "head-dim-12-gelu-inverse-layer": {
        "vocab_size": 131,
        "n_embd": 24,
        "n_layer": 3,
        "n_head": 2,
        "activation_function": "gelu",
        "scale_attn_by_inverse_layer_idx": True,
    },
    "head-dim-20-relu-inner-56": {
        "vocab_size": 150,
        "n_embd": 40,
        "n_layer": 2,
        "n_head": 2,
        "n_inner": 56,
        "activation_function": "relu",
    },
    "untied-head": {
        "vocab_size": 113,
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 2,
        "activation_function": "gelu_pytorch_tanh",
        "tie_word_embeddings": False,
    },
    "unscaled-upcast-silu": {
        "vocab_size": 101,
        "n_embd": 36,
        "n_layer": 2,
        "n_head": 3,
        "activation_function": "silu",
        "layer_norm_epsilon": 1e-3,
        "scale_attn_weights": False,
        "reorder_and_upcast_attn": True,
    },
    "one-head-of-27-quick-gelu": {
        "vocab_size": 300,
        "n_embd": 27,
        "n_layer": 2,
        "n_head": 1,
        "activation_function": "quick_gelu",
    },
    # What a GPU decodes as one kernel. Wider, so that the same deviation would make larger numbers.
    "two-heads-of-64": {
        "vocab_size": 97,
        "n_embd": 128,
        "n_layer": 1,
        "n_head": 2,
        "initializer_range": DEVIATION / 2,
    },
    # As a policy of a game is trained: a vocabulary of characters, heads of 8, a value head.
    "value-head": {"vocab_size": 128, "n_embd": 32, "n_layer": 2, "n_head": 4},
}

VALUE_HEADS = {"value-head": (24, 16)}  # the sizes of its inner layers


class ValueHead(torch.nn.Module):
    """trigoRL's (trigor/models/valueHead.py): its names of tensors, its functions."""

    def __init__(self, hidden: int, intermediate: int, bottleneck: int):
        super().__init__()
        self.fc1 = torch.nn.Linear(hidden, intermediate)
        self.ln1 = torch.nn.LayerNorm(intermediate)
        self.fc2 = torch.nn.Linear(intermediate, bottleneck)
        self.ln2 = torch.nn.LayerNorm(bottleneck)
        self.fc_out = torch.nn.Linear(bottleneck, 1)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.ln1(self.fc1(hidden_states)))
        x = torch.relu(self.ln2(self.fc2(x)))
        return torch.tanh(self.fc_out(x)).squeeze(-1)


def main() -> None:
    common = {"n_positions": 64, "initializer_range": DEVIATION}
    for name in sys.argv[1:] or VARIANTS:
        directory = Path(__file__).parent / name
        config = GPT2Config(bos_token_id=0, eos_token_id=0, **{**common, **VARIANTS[name]})
        model, ids = make(directory, config, STORED_AS.get(name, torch.float32), random_model)
        if sizes := VALUE_HEADS.get(name):
            add_value_head(directory, model, ids, ValueHead(config.n_embd, *sizes))


def make(
    directory: Path,
    config: PretrainedConfig,
    stored: torch.dtype,
    random_model: Callable[[PretrainedConfig, int], tuple[torch.nn.Module, list[int]]],
) -> tuple[torch.nn.Module, list[int]]:
    """Writes the golden of the first seed whose greedy tokens are worth comparing."""
    seed = SEED
    while True:
        model, ids = random_model(config, seed)
        with torch.no_grad():  # not model.to(stored): rotary frequencies would be rounded, too
            for parameter in model.parameters():
                parameter.copy_(parameter.to(stored))
        greedy, lead = greedy_continuation(model, ids[:PROMPT])
        if lead > MIN_LEAD and len(set(greedy)) > NEW_TOKENS // 4:
            break
        seed += 1
    with torch.no_grad():
        logits = model.double()(torch.tensor([ids])).logits[0].numpy()

    shutil.rmtree(directory, ignore_errors=True)
    model.to(stored).save_pretrained(directory)
    (directory / "generation_config.json").unlink(missing_ok=True)
    np.save(directory / "logits.npy", logits.astype(np.float32))
    golden = {
        **{"ids": ids, "prompt": ids[:PROMPT], "greedy": greedy, "seed": seed},
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
    }
    (directory / "golden.json").write_text(json.dumps(golden) + "\n")
    largest = np.abs(logits).max()
    print(f"{directory.name}: seed {seed}, largest logit {largest:.2f}, lead {lead:.3f}")
    return model, ids


def add_value_head(
    directory: Path, model: GPT2LMHeadModel, ids: list[int], head: ValueHead
) -> None:
    """Writes the checkpoint as trigoRL does, the language model under `model.`, and the values."""
    with torch.no_grad():
        for parameter in head.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        states = model.double().transformer(torch.tensor([ids])).last_hidden_state
        values = head.double()(states)[0].numpy()
    np.save(directory / "values.npy", values.astype(np.float32))
    file = directory / "model.safetensors"
    tensors = {f"model.{name}": tensor for name, tensor in load_file(file).items()}
    tensors |= {f"value_head.{name}": t for name, t in head.float().state_dict().items()}
    save_file({name: t.contiguous() for name, t in tensors.items()}, file, {"format": "pt"})


def random_model(config: GPT2Config, seed: int) -> tuple[GPT2LMHeadModel, list[int]]:
    """A model whose biases and norms, too, are random, and random token ids for it."""
    torch.manual_seed(seed)
    model = GPT2LMHeadModel(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias") or ".ln_" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return model, torch.randint(config.vocab_size, (TOKENS,)).tolist()


def greedy_continuation(model: GPT2LMHeadModel, prompt: list[int]) -> tuple[list[int], float]:
    """Greedy tokens of Hugging Face's cached generation, and the least lead of a chosen logit."""
    result = model.generate(
        torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        use_cache=True,
        eos_token_id=None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    best = torch.stack(result.logits)[:, 0].topk(2).values
    return result.sequences[0, len(prompt) :].tolist(), float((best[:, 0] - best[:, 1]).min())


if __name__ == "__main__":
    main()
