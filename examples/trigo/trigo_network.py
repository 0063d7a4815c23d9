"""A GPT-2 with a value head, named and stored as Hugging Face and trigoRL do."""

from __future__ import annotations

import json
import math
import struct
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import trigo_text as text
from torch import Tensor, nn
from torch.nn import functional

LENGTH_BYTES = 8  # of a safetensors header, before it
STORED = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}
EPSILON = 1e-5
DEVIATION = 0.02


@dataclass(frozen=True)
class Sizes:
    layers: int = 6
    heads: int = 8
    hidden: int = 128
    positions: int = 1024
    value_hidden: int = 128
    value_bottleneck: int = 64

    def config(self) -> dict[str, object]:
        """config.json, as the exporter reads it."""
        return {
            **{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]},
            **{"vocab_size": text.VOCABULARY, "n_positions": self.positions},
            **{"n_embd": self.hidden, "n_layer": self.layers, "n_head": self.heads},
            **{"activation_function": "gelu_new", "layer_norm_epsilon": EPSILON},
            **{"bos_token_id": 1, "eos_token_id": 2, "tie_word_embeddings": True},
            "value_head": {
                **{"hidden_dim": self.hidden, "intermediate_dim": self.value_hidden},
                **{"bottleneck_dim": self.value_bottleneck, "use_layer_norm": True},
                **{"activation": "relu", "output_activation": "tanh"},
            },
        }

    @staticmethod
    def of_config(config: dict) -> Sizes:
        head = config["value_head"]
        return Sizes(
            **{"layers": config["n_layer"], "heads": config["n_head"]},
            **{"hidden": config["n_embd"], "positions": config["n_positions"]},
            **{"value_hidden": head["intermediate_dim"]},
            value_bottleneck=head["bottleneck_dim"],
        )


class Product(nn.Module):
    """x · weight + bias, the weight [inputs, outputs] as GPT-2 has it."""

    def __init__(self, inputs: int, outputs: int, deviation: float = DEVIATION) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inputs, outputs) * deviation)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight.t(), self.bias)


class Block(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        hidden, residual = sizes.hidden, DEVIATION / math.sqrt(2 * sizes.layers)
        self.heads = sizes.heads
        self.ln_1 = nn.LayerNorm(hidden, EPSILON)
        self.attn = nn.ModuleDict(
            {"c_attn": Product(hidden, 3 * hidden), "c_proj": Product(hidden, hidden, residual)}
        )
        self.ln_2 = nn.LayerNorm(hidden, EPSILON)
        self.mlp = nn.ModuleDict(
            {"c_fc": Product(hidden, 4 * hidden), "c_proj": Product(4 * hidden, hidden, residual)}
        )

    def forward(self, x: Tensor, seen: Tensor | None) -> Tensor:
        """`seen` [batch, 1, nodes, size] masks what the nodes behind a text see."""
        parts = self.attn["c_attn"](self.ln_1(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        attend = functional.scaled_dot_product_attention
        if seen is None:
            mixed = attend(q, k, v, is_causal=True)
        else:
            text = q.shape[2] - seen.shape[2]
            in_text = (part[:, :, :text] for part in (q, k, v))
            mixed = torch.cat(
                [attend(*in_text, is_causal=True), attend(q[:, :, text:], k, v, attn_mask=seen)], 2
            )
        x = x + self.attn["c_proj"](mixed.transpose(1, 2).flatten(2))
        inner = functional.gelu(self.mlp["c_fc"](self.ln_2(x)), approximate="tanh")
        return x + self.mlp["c_proj"](inner)


class ValueHead(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.fc1 = nn.Linear(sizes.hidden, sizes.value_hidden)
        self.ln1 = nn.LayerNorm(sizes.value_hidden, EPSILON)
        self.fc2 = nn.Linear(sizes.value_hidden, sizes.value_bottleneck)
        self.ln2 = nn.LayerNorm(sizes.value_bottleneck, EPSILON)
        self.fc_out = nn.Linear(sizes.value_bottleneck, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.ln1(self.fc1(x)))
        x = functional.relu(self.ln2(self.fc2(x)))
        return torch.tanh(self.fc_out(x)).squeeze(-1)


class LanguageModel(nn.Module):
    """What is stored under `model.`; its head is the token embedding."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.transformer = nn.ModuleDict(
            {
                "wte": nn.Embedding(text.VOCABULARY, sizes.hidden),
                "wpe": nn.Embedding(sizes.positions, sizes.hidden),
                "h": nn.ModuleList(Block(sizes) for _ in range(sizes.layers)),
                "ln_f": nn.LayerNorm(sizes.hidden, EPSILON),
            }
        )
        for table in ("wte", "wpe"):
            nn.init.normal_(self.transformer[table].weight, std=DEVIATION)

    def forward(self, tokens: Tensor, positions: Tensor, seen: Tensor | None = None) -> Tensor:
        """The final norm's output [batch, size, hidden].

        Sequences are texts and nodes behind them, which see what `seen` [batch, 1, nodes, size]
        says; without it they are texts alone.
        """
        of = self.transformer
        x = of["wte"](tokens) + of["wpe"](positions)
        for block in of["h"]:
            x = block(x, seen)
        return of["ln_f"](x)

    def logits(self, states: Tensor) -> Tensor:
        return states @ self.transformer["wte"].weight.t()


class TrigoNetwork(nn.Module):
    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        if sizes.hidden % sizes.heads:
            raise ValueError(f"hidden {sizes.hidden} is not a multiple of heads {sizes.heads}")
        self.sizes = sizes
        self.model = LanguageModel(sizes)
        self.value_head = ValueHead(sizes)

    def plain(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [batch, size, 128] and values [batch, size] of plain sequences."""
        positions = torch.arange(tokens.shape[1], device=tokens.device)[None]
        states = self.model(tokens, positions)
        return self.model.logits(states), self.value_head(states)


def save(network: TrigoNetwork, directory: Path, stored: str = "F16") -> None:
    """config.json and model.safetensors, of `stored` elements: what export_trigo_kvcache.py reads.

    Each file replaces an earlier one at once, the weights first.
    """
    directory.mkdir(parents=True, exist_ok=True)
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    parts, end = [], 0
    for name, tensor in network.state_dict().items():
        data = tensor.detach().float().cpu().numpy().astype(STORED[stored])
        if not np.isfinite(data).all():
            raise ValueError(f"{name} holds NaN or Inf, or numbers too large for {stored}")
        offsets = [end, end + data.nbytes]
        header[name] = {"dtype": stored, "shape": list(data.shape), "data_offsets": offsets}
        parts.append(data.tobytes())
        end = offsets[1]
    text_of_header = json.dumps(header).encode()
    text_of_header += b" " * (-len(text_of_header) % LENGTH_BYTES)
    content = struct.pack("<Q", len(text_of_header)) + text_of_header + b"".join(parts)
    _replace(directory / "model.safetensors", content)
    _replace(directory / "config.json", json.dumps(network.sizes.config(), indent=2).encode())


def load(directory: Path) -> TrigoNetwork:
    """What save() wrote, in float32."""
    config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    network = TrigoNetwork(Sizes.of_config(config))
    content = (directory / "model.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:LENGTH_BYTES])
    header = json.loads(content[LENGTH_BYTES : LENGTH_BYTES + length])
    tensors = {}
    for name, of in header.items():
        if name == "__metadata__":
            continue
        first, end = (LENGTH_BYTES + length + offset for offset in of["data_offsets"])
        data = np.frombuffer(content[first:end], STORED[of["dtype"]]).reshape(of["shape"])
        tensors[name] = torch.from_numpy(data.astype(np.float32))
    network.load_state_dict(tensors)
    return network


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def sizes_text(sizes: Sizes) -> str:
    return ", ".join(f"{name} {value}" for name, value in asdict(sizes).items())


def _replace(path: Path, content: bytes) -> None:
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    beside.replace(path)
