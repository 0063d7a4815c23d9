"""What turns gradients into steps."""

from __future__ import annotations

import argparse

import torch
from trigo_network import TrigoNetwork


def optimizers(
    network: TrigoNetwork, of_points: torch.nn.Linear, options: argparse.Namespace
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, which learn in fewer steps with it; AdamW for the rest.

    Embeddings and matrices shrink, biases and norms do not.
    """
    blocks = [part for part in network.model.transformer["h"].parameters() if part.ndim > 1]
    of_blocks = set(map(id, blocks))
    others = [*network.parameters(), *of_points.parameters()]
    others = [part for part in others if id(part) not in of_blocks]
    adam = torch.optim.AdamW(
        [
            {"params": [part for part in others if part.ndim > 1], "weight_decay": options.decay},
            {"params": [part for part in others if part.ndim < 2], "weight_decay": 0.0},
        ],
        **{"lr": options.rate, "betas": (0.9, 0.98), "fused": of_points.weight.is_cuda},
    )
    if options.optimizer == "adam":
        adam.add_param_group({"params": blocks, "weight_decay": options.decay})
        return [adam]
    muon = torch.optim.Muon(
        blocks, lr=options.rate, weight_decay=options.decay, adjust_lr_fn="match_rms_adamw"
    )
    return [muon, adam]
