"""A tiny model that takes the place of GPT-2 and of SmolLM2 in the snippets."""

from __future__ import annotations

import json
from pathlib import Path

from kvcache_export.cli import GPT2, main

VOCAB_SIZE = 50257  # GPT-2's: snippets begin with its last token
CONFIG = {
    "model_type": "gpt2",
    "vocab_size": VOCAB_SIZE,
    "n_positions": 1024,
    "n_embd": 16,
    "n_layer": 1,
    "n_head": 2,
}
SPECIAL = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")  # the last ids


def write(folder: Path) -> None:
    """Export it, with a tokenizer of single bytes and a chat template as many models have it."""
    config = folder.with_name("config.json")
    config.write_text(json.dumps(CONFIG))
    options = ("--random-init", str(config), "--output-dir", str(folder))
    assert main([*options], GPT2) == 0
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (folder / "chat_template.json").write_text(json.dumps(chat_template()))


def tokenizer() -> dict[str, object]:
    """Every byte is a token; what is left of the vocabulary has a text of its own."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    # Printable bytes are called as in Latin-1, the others by the characters from U+0100 on.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    names = [*map(chr, printable), *(chr(256 + i) for i in range(len(others)))]
    names += [f"w{i}" for i in range(VOCAB_SIZE - len(names) - len(SPECIAL))]
    added = [
        {
            **{"id": len(names) + i, "content": content, "special": True, "normalized": False},
            **{"single_word": False, "lstrip": False, "rstrip": False},
        }
        for i, content in enumerate(SPECIAL)
    ]
    vocabulary = {name: i for i, name in enumerate([*names, *SPECIAL])}
    return {
        "added_tokens": added,
        "pre_tokenizer": {**byte_level, "use_regex": True},
        "decoder": {**byte_level, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }


def chat_template() -> dict[str, object]:
    """ChatML: a system message or none, then turns."""
    roles = ("system", "user", "assistant")
    between = [_piece(None, role, f"<|im_start|>{role}\n") for role in roles[:2]]
    between += [
        _piece(before, after, f"<|im_end|>\n<|im_start|>{after}\n")
        for before, after in (("system", "user"), ("user", "assistant"), ("assistant", "user"))
    ]
    answer = "<|im_end|>\n<|im_start|>assistant\n"
    between += [{**_piece("user", None, answer), "generation": True}]
    between += [{**_piece(role, None, "<|im_end|>\n"), "generation": False} for role in roles[1:]]
    return {
        **{"format": "kvcache_chat_template", "format_version": 1},
        **{"expressed": True, "extends": True, "between": between, "refused": []},
    }


def _piece(before: str | None, after: str | None, text: str) -> dict[str, object]:
    return {"before": before, "after": after, "text": [text], "trim_before": "", "trim_after": ""}
