"""Trains a model of Llama-3.2-1B's shape and a small one of the same vocabulary on Python code.

    python bench/gpu/train_draft_pair.py --text DIRECTORY --output DIR [--seconds N]

Wants torch, transformers, tokenizers and a GPU. Writes DIR/model and DIR/draft, as
export_kvcache.py reads them. What they write is no good code, but unlike random weights they have
a distribution that was learned, so that one can guess what the other says: what
bench/text_bars.py --draft-model measures. A file in a hundred is held out, and the loss on those
is printed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END = "<|end_of_text|>"
WORDS = 32_000  # that are trained; Llama's vocabulary has 128,256, whose rows are all computed
MOST_TEXT = 120_000_000  # characters
LENGTH, BATCH = 1024, 16  # tokens of a sequence, sequences of a step
WARM_UP_STEPS = 40

SHAPE = {  # what both share
    "vocab_size": 128_256,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10_000.0,
    "head_dim": 64,
    "tie_word_embeddings": True,
}
MODEL = {
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}
DRAFT = {
    "hidden_size": 256,
    "intermediate_size": 1024,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def read_texts(directory: Path) -> tuple[list[str], list[str]]:
    """Python files for training and held-out ones, every one once."""
    seen, texts, held_out, characters = set(), [], [], 0
    for path in sorted(directory.rglob("*.py")):
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError):
            continue
        digest = hashlib.sha256(text.encode()).digest()
        if len(text) < 500 or digest in seen:
            continue
        seen.add(digest)
        (held_out if digest[0] * 256 + digest[1] < 655 else texts).append(text)
        characters += len(text)
        if characters > MOST_TEXT:
            break
    return texts, held_out


def train_tokenizer(texts: list[str], output: Path) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts[:: max(1, len(texts) // 4000)], trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END).save_pretrained(output)
    return tokenizer


def tokens_of(tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    end = tokenizer.token_to_id(END)
    ids = []
    for first in range(0, len(texts), 500):
        for encoding in tokenizer.encode_batch_fast(texts[first : first + 500]):
            ids += [*encoding.ids, end]
    return torch.tensor(ids)


def batch_of(tokens: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    begins = torch.randint(len(tokens) - LENGTH, (BATCH,), generator=generator)
    return torch.stack([tokens[begin : begin + LENGTH] for begin in begins]).cuda()


def loss_of(model: LlamaForCausalLM, batch: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cuda", torch.bfloat16):
        return model(input_ids=batch, labels=batch, use_cache=False).loss


def train(
    shape: dict, tokens: torch.Tensor, held_out: torch.Tensor, rate: float, seconds: float
) -> tuple[LlamaForCausalLM, dict]:
    """A model trained for so long: the rate rises, then falls with the time that is left."""
    torch.manual_seed(1)
    config = LlamaConfig(**SHAPE, **shape, bos_token_id=0, eos_token_id=0)
    with torch.device("cuda"):
        model = LlamaForCausalLM(config)
    decayed = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=rate,
        betas=(0.9, 0.95),
        fused=True,
    )
    generator = torch.Generator().manual_seed(2)
    begin, steps, last = time.monotonic(), 0, float("nan")
    while (passed := (time.monotonic() - begin) / seconds) < 1:
        share = 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * passed))
        for group in optimizer.param_groups:
            group["lr"] = rate * share * min(1, (steps + 1) / WARM_UP_STEPS)
        loss = loss_of(model, batch_of(tokens, generator))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps += 1
        if steps % 50 == 0:
            last = loss.item()
            print(f"  {passed:4.0%}, step {steps}: loss {last:.3f}", flush=True)
    model.eval()
    generator.manual_seed(3)
    with torch.no_grad():
        losses = [loss_of(model, batch_of(held_out, generator)).item() for _ in range(8)]
    found = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": steps,
        "tokens": steps * LENGTH * BATCH,
        "loss": last,
        "loss_held_out": sum(losses) / len(losses),
    }
    print(f"  {found}", flush=True)
    return model, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True, help="Python files are in it")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=240, help="of the model (default: 240)")
    parser.add_argument("--draft-seconds", type=float, default=80, help="(default: 80)")
    arguments = parser.parse_args()
    folders = {name: arguments.output / name for name in ("model", "draft")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    texts, held_out_texts = read_texts(arguments.text)
    print(f"{len(texts)} files, {sum(map(len, texts))} characters", flush=True)
    tokenizer = train_tokenizer(texts, folders["model"])
    for file in folders["model"].iterdir():
        (folders["draft"] / file.name).write_bytes(file.read_bytes())
    tokens, held_out = tokens_of(tokenizer, texts), tokens_of(tokenizer, held_out_texts)
    print(f"{len(tokens)} tokens, {len(held_out)} held out", flush=True)
    found = {}
    for name, shape, rate, seconds in (
        ("draft", DRAFT, 2e-3, arguments.draft_seconds),
        ("model", MODEL, 4e-4, arguments.seconds),
    ):
        print(name, flush=True)
        model, found[name] = train(shape, tokens, held_out, rate, seconds)
        model.to(torch.bfloat16).save_pretrained(folders[name])
        del model
        torch.cuda.empty_cache()
    (arguments.output / "training.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
