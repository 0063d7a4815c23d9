"""Chat templates: the texts of Jinja2, and the texts and tokens of C++'s program."""

from __future__ import annotations

import datetime
import functools
import json
import random
from collections import UserDict
from pathlib import Path
from typing import Any

import pytest
from chat_templates import EXPRESSED
from test_chat_templates import ADDED, NOT_SPECIAL, TOKENS, chats, expressed, tokenizer
from test_pipelines import SEED, convert

import kvcache
from kvcache_export.chat.environment import ChatTemplate as Jinja2

SAID = [{"role": "user", "content": "Hi"}]


@functools.cache
def template(name: str) -> kvcache.ChatTemplate:
    return kvcache.ChatTemplate.from_json(json.dumps(expressed(EXPRESSED[name][0])))


@pytest.mark.parametrize("name", EXPRESSED)
def test_texts_are_those_of_jinja2_and_both_are_those_of_cpp(name: str, tmp_path: Path) -> None:
    source, roles, extends = EXPRESSED[name]
    (tmp_path / "chat_template.json").write_text(json.dumps(expressed(source)))
    tokenizer("llama3").save(str(tmp_path / "tokenizer.json"))
    chat = kvcache.ChatTemplate.load(tmp_path)
    words = kvcache.Tokenizer.load(tmp_path)
    jinja2 = Jinja2(source, TOKENS)
    now = datetime.datetime(2031, 2, 3, 4, 5)
    said = chats(source, [*ADDED, *NOT_SPECIAL, *jinja2.literals()])
    for flag, options in ((True, ()), (False, ("--no-generation-prompt",))):
        of_program = convert(tmp_path, said, "--chat", *options)
        for messages, expected in zip(said, of_program, strict=True):
            text = chat.render(messages, add_generation_prompt=flag, now=now)
            assert text == jinja2.text(messages, flag, now.strftime), (SEED, messages)
            assert chat.render(messages, add_generation_prompt=flag) == expected["text"]
            ids = chat.encode(words, messages, add_generation_prompt=flag)
            assert ids == expected["ids"], (SEED, messages)
    assert (set(chat.roles), chat.extends) == (roles, extends)


def test_the_moment_is_that_of_the_datetime() -> None:
    """A datetime with a time zone is told in the local time, as one without is taken."""
    chance = random.Random(SEED)
    for _ in range(50):
        zone = datetime.timezone(datetime.timedelta(hours=chance.randint(-12, 12)))
        now = datetime.datetime.fromtimestamp(chance.randint(0, 2**31), zone)
        local = now.astimezone().replace(tzinfo=None)
        text = template("dated").render(SAID, now=now)
        assert text == template("dated").render(SAID, now=local), (SEED, now)
        assert local.strftime("%d %b %Y") in text


def test_messages_are_any_mappings_in_any_order_of_fields() -> None:
    chat = template("chatml")
    made = (UserDict(message) for message in [{"content": "Hi", "role": "user"}])
    assert chat.render(made) == chat.render(SAID)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (3, "incompatible function arguments"),
        (["Hi"], 'messages[0] must be a mapping with "role" and "content", not str'),
        ([*SAID, 3], "messages[1] must be a mapping"),
        ([{"role": "user"}], 'messages[0]["content"] must be a str, and is missing'),
        ([{"role": 3, "content": "x"}], 'messages[0]["role"] must be a str, and is int'),
        ([{"role": "user", "content": b"x"}], 'messages[0]["content"] must be a str, and is bytes'),
        ([SAID[0] | {"name": "x"}], 'messages[0] has more than "role" and "content"'),
    ],
)
def test_what_is_no_message_is_told(messages: Any, expected: str) -> None:
    with pytest.raises(TypeError) as raised:
        template("chatml").render(messages)
    assert expected in str(raised.value)


def test_what_a_template_does_not_take_is_told(tmp_path: Path, fails) -> None:
    chat = template("chatml")
    words = kvcache.Tokenizer.from_json(tokenizer("gpt2").to_str())
    for call in (chat.render, lambda said: chat.encode(words, said)):
        assert "give at least one" in str(fails("empty_input", call, []))
        error = fails("invalid_argument", call, [{"role": "tool", "content": "x"}])
        assert 'message 0 has the role "tool"' in str(error)
    with pytest.raises(UnicodeEncodeError):
        chat.render([{"role": "user", "content": "\ud800"}])
    with pytest.raises(TypeError, match=r"now must be a datetime\.datetime or None, not int"):
        chat.render(SAID, now=12)  # type: ignore[arg-type]
    error = fails("invalid_argument", chat.render, SAID, now=datetime.datetime(9999, 1, 1))
    assert "seconds from 1970, must be at most" in str(error)
    fails("model_not_found", kvcache.ChatTemplate.load, tmp_path)
    fails("chat_template_invalid", kvcache.ChatTemplate.from_json, "{}")
    without = {"format": "kvcache_chat_template", "format_version": 1, "expressed": False}
    error = fails(
        "chat_template_unsupported",
        kvcache.ChatTemplate.from_json,
        json.dumps(without | {"reason": "it looks at a length"}),
    )
    assert "it looks at a length" in str(error)
