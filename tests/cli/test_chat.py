"""kvcache generate --chat: messages by the model's template, at once and turn by turn."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from programs import Program, assert_error

from kvcache_export.chat.limited import express

TEMPLATE = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }};{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
COUNT = ("--max-new-tokens", 5)


@pytest.fixture
def chat_model(model_with_tokenizer: Path) -> Path:
    pieces = express(TEMPLATE, {})
    assert pieces["expressed"]
    assert pieces["extends"]
    (model_with_tokenizer / "chat_template.json").write_text(json.dumps(pieces))
    return model_with_tokenizer


def test_a_prompt_is_what_a_user_says(kvcache: Program, chat_model: Path) -> None:
    for system in ((), ("--system", "Be.")):
        found = kvcache(
            "generate", chat_model, "--chat", "--prompt", "Hi", *system, *COUNT, "--json"
        )
        assert found.returncode == 0, found.stderr
        text = ("[system]Be.;" if system else "") + "[user]Hi;[assistant]"
        plain = kvcache("generate", chat_model, "--prompt", text, *COUNT, "--json")
        for field in ("text", "ids", "prompt_tokens"):
            assert json.loads(found.stdout)[field] == json.loads(plain.stdout)[field]


def test_a_turn_computes_its_own_tokens(kvcache: Program, chat_model: Path) -> None:
    command = ("generate", chat_model, "--chat", "--interactive", *COUNT, "--ignore-stop-tokens")
    found = kvcache(*command, input="Hi\nHo\n/rewind\nHo\n/history\n")
    assert found.returncode == 0, found.stderr
    lines = found.stdout.splitlines()
    first, second, again = lines[:3]
    assert second == again
    history = f"[user]Hi;[assistant]{first};[user]Ho;[assistant]{again}"
    assert "\n".join(lines[3:]) == history
    computed = [int(count) for count in re.findall(r"(\d+) prompt tokens", found.stderr)]
    # Tokens are bytes here: the first message, then what stands around the second one.
    assert computed == [len("[user]Hi;[assistant]")] + 2 * [len(";[user]Ho;[assistant]")]


def test_refuses_what_is_no_chat(
    kvcache: Program, chat_model: Path, model: Path, tmp_path: Path
) -> None:
    command = ("generate", chat_model, "--chat", *COUNT)
    assert_error(kvcache(*command, "--ids", "1"), 2, "--chat is of messages")
    state = ("--prompt", "a", "--load-state", tmp_path / "state")
    assert_error(kvcache(*command, *state), 2, "--chat is of messages")
    without = ("generate", chat_model, *COUNT, "--prompt", "a", "--system", "b")
    assert_error(kvcache(*without), 2, "add --chat")
    (chat_model / "chat_template.json").unlink()
    assert_error(kvcache(*command, "--prompt", "a"), 2, "chat_template.json")


def test_a_saved_state_has_no_messages(kvcache: Program, chat_model: Path) -> None:
    command = ("generate", chat_model, "--chat", "--interactive", *COUNT)
    found = kvcache(*command, input="/load state\n")
    assert "has tokens and no messages" in found.stderr


def test_twenty_turns_compute_each_token_once(kvcache: Program, chat_model: Path) -> None:
    # The model has 64 positions: a turn is a letter, and two new tokens follow.
    pieces = express("{% for m in messages %}{{ m.content }}{% endfor %}", {})
    (chat_model / "chat_template.json").write_text(json.dumps(pieces))
    command = ("generate", chat_model, "--chat", "--interactive", "--max-new-tokens", 2)
    found = kvcache(*command, "--ignore-stop-tokens", input="a\n" * 20 + "/texts\n")
    assert found.returncode == 0, found.stderr
    computed = [int(count) for count in re.findall(r"(\d+) prompt tokens", found.stderr)]
    assert computed == [1] * 20
    assert found.stdout.splitlines()[-1] == "* main: 20 turns, 60 tokens"
