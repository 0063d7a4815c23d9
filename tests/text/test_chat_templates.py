"""Chat templates in pieces: what C++ renders and encodes is what Jinja2 and tokenizers give.

KVCACHE_CHAT_TEMPLATES may name a directory of further templates, *.jinja: those of them that are
expressed must be equal, too.
"""

from __future__ import annotations

import functools
import json
import os
import random
import unicodedata
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from chat_templates import EXPRESSED
from programs import assert_error, runner
from random_texts import random_texts
from test_pipelines import PIPELINES as TOKENIZERS
from test_pipelines import SEED, TEXTS, convert
from tokenizers import AddedToken, Tokenizer

from kvcache_export.chat.conversations import KINDS, messages
from kvcache_export.chat.environment import ChatTemplate, TemplateError
from kvcache_export.chat.pieces import Pieces
from kvcache_export.chat.probe import express, pieces_of

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
ADDED = ("<|im_start|>", "<|im_end|>", "<|start|>", "<|mid|>", "<|end|>", "<think>")
NOT_SPECIAL = ("<|user|>", "<|assistant|>", "<|system|>")  # as DeepSeek's
OTHER_DIRECTORY = os.environ.get("KVCACHE_CHAT_TEMPLATES")
OTHERS = sorted(Path(OTHER_DIRECTORY).glob("*.jinja")) if OTHER_DIRECTORY else []
PIPELINES = ("gpt2", "llama3", "qwen2", "llama2", "metaspace never", "gemma")
BAD_INPUT = 2
kvcache = runner("kvcache")


def now(format_: str) -> str:
    return datetime.now().strftime(format_)


def tokenizer(name: str) -> Tokenizer:
    """One of pipelines.py's, copied, with tokens added."""
    made = Tokenizer.from_str(TOKENIZERS[name].to_str())
    made.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in ADDED])
    made.add_tokens([AddedToken(text, normalized=True) for text in NOT_SPECIAL])
    made.add_tokens([AddedToken("\n\n", normalized=False)])  # as Gemma's
    return made


@functools.cache  # finding the pieces takes a second or more
def expressed(source: str) -> dict[str, Any]:
    """The fields of a template's chat_template.json."""
    return express(source, TOKENS)


@functools.cache
def pieces(source: str) -> Pieces:
    return pieces_of(ChatTemplate(source, TOKENS))


def model(directory: Path, source: str, name: str = "gpt2") -> Tokenizer:
    """A directory with a template's pieces and a tokenizer."""
    fields = expressed(source)
    assert fields["expressed"], fields
    (directory / "chat_template.json").write_text(json.dumps(fields), encoding="utf-8")
    tokenizer(name).save(str(directory / "tokenizer.json"))
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


def chats(source: str, special: list[str]) -> list[list[dict[str, str]]]:
    """Random conversations that the template's pieces take."""
    found = pieces(source)
    texts = random_texts(SEED, TEXTS, special)
    chance = random.Random(SEED)
    made = []
    for _ in range(TEXTS):
        roles = chance.choice(KINDS).random(chance, 8)
        said = messages(roles, [chance.choice(texts) for _ in roles])
        refused = any(
            each["content"] in found.refused[each["role"]]
            for each in said
            if each["role"] in found.refused
        )
        if not refused and all(found.takes(roles, flag) for flag in (False, True)):
            made.append(said)
    assert made
    return made


def assert_rendered(source: str, directory: Path, special: list[str]) -> None:
    said = chats(source, special)
    template = ChatTemplate(source, TOKENS)
    for generation, options in ((True, ()), (False, ("--no-generation-prompt",))):
        for chat, found in zip(said, convert(directory, said, "--chat", *options), strict=True):
            assert found["text"] == template.text(chat, generation, now), (SEED, chat)


@pytest.mark.parametrize("name", EXPRESSED)
def test_texts_are_those_of_jinja2(name: str, tmp_path: Path):
    source, _, _ = EXPRESSED[name]
    model(tmp_path, source)
    special = [*ADDED, *NOT_SPECIAL, *ChatTemplate(source, TOKENS).literals()]
    assert_rendered(source, tmp_path, special)


@pytest.mark.parametrize("file", OTHERS or [None], ids=lambda file: file and file.stem)
def test_texts_of_other_templates_are_those_of_jinja2(file: Path | None, tmp_path: Path):
    if file is None:
        pytest.skip("KVCACHE_CHAT_TEMPLATES names no directory of further templates")
    source = file.read_text(encoding="utf-8")
    fields = expressed(source)
    if not fields["expressed"]:
        pytest.skip(fields["reason"])
    model(tmp_path, source)
    assert_rendered(source, tmp_path, ChatTemplate(source, TOKENS).literals())


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("template", ["chatml", "trimmed", "skips empty"])
def test_ids_are_those_of_the_text_where_messages_hold_no_special_token(
    template: str, name: str, tmp_path: Path
):
    reference = model(tmp_path, EXPRESSED[template][0], name)
    said = chats(EXPRESSED[template][0], [])
    added = reference.get_added_tokens_decoder().values()
    texts = {each.content for each in added if each.special}.union(NOT_SPECIAL)
    said = [
        chat for chat in said if not any(text in each["content"] for each in chat for text in texts)
    ]
    assert said
    for chat, found in zip(said, convert(tmp_path, said, "--chat"), strict=True):
        expected = reference.encode(found["text"], add_special_tokens=False).ids
        assert found["ids"] == expected, (SEED, chat)


@pytest.mark.parametrize("name", ["gpt2", "llama3", "qwen2"])
@pytest.mark.parametrize("template", ["chatml", "trimmed", "skips empty"])
def test_nobody_speaks_for_others(template: str, name: str, tmp_path: Path):
    """The template's tokens are there as often as it says, whatever messages hold."""
    source = EXPRESSED[template][0]
    reference = model(tmp_path, source, name)
    guarded = [*TOKENS.values(), *ADDED, *(text for text in NOT_SPECIAL if text in source)]
    said = chats(source, [text for text in guarded if text != "<think>"] * 5)
    if name == "qwen2":  # its normalizer hides whose a token is in what it changes
        said = [
            chat
            for chat in said
            if all(unicodedata.is_normalized("NFC", each["content"]) for each in chat)
        ]
        assert said
    empty = [[each | {"content": "x"} for each in chat] for chat in said]
    counted = {reference.token_to_id(text) for text in guarded}
    found = convert(tmp_path, said, "--chat")
    for chat, ids, plain in zip(said, found, convert(tmp_path, empty, "--chat"), strict=True):
        special = [id_ for id_ in ids["ids"] if id_ in counted]
        bare = reference.encode(plain["text"], add_special_tokens=False).ids
        assert special == [id_ for id_ in bare if id_ in counted], (SEED, chat)
        decoded = reference.decode(ids["ids"], skip_special_tokens=False)
        if name != "qwen2":  # which normalises
            assert decoded == ids["text"], (SEED, chat)


def test_what_a_normalizer_hides_is_refused(tmp_path: Path):
    model(tmp_path, EXPRESSED["skips empty"][0], "qwen2")
    said = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": "e\u0301<|assistant|>"},
    ]
    finished = kvcache("tokenize", tmp_path, "--chat", json.dumps(said))
    assert_error(finished, BAD_INPUT, 'a message holds "<|assistant|>"', "take it out")


def test_a_chat_extends_where_the_template_says_so(tmp_path: Path):
    for name, (source, _, extends) in EXPRESSED.items():
        template = ChatTemplate(source, TOKENS)
        kept = True
        for chat in ([("user", "Hi"), ("assistant", "Yes?"), ("user", "No")],) * 2:
            said = [dict(zip(("role", "content"), each, strict=True)) for each in chat]
            begun = template.text(said[:1], True, now) + "Yes?"
            kept = kept and template.text(said, True, now).startswith(begun)
            kept = kept and template.text(said[:2], False, now).startswith(begun)
        assert kept == extends, name


ALTERNATING = EXPRESSED["system in user"][0]


@pytest.mark.parametrize(
    ("template", "chat", "message"),
    [
        ("chatml", [], "there are none; give at least one"),
        ("chatml", [("tool", "x")], 'message 0 has the role "tool"'),
        ("chatml", [("tool", "x")], "takes system, user, assistant"),
        ("marked", [("system", "x")], "takes user, assistant"),
        ("no system", [("system", "x")], 'is of the role "system" and the first'),
        ("no system", [("assistant", "x")], 'is of the role "assistant" and the first'),
        (
            "system in user",
            [("user", "x"), ("user", "y")],
            'message 1 is of the role "user" behind one of the role "user"',
        ),
        ("system in user", [("system", "x")], "message 0 is of the role"),
        ("reasoning", [("assistant", "a</think>b")], 'message 0 holds "</think>"'),
        ("skips empty", [("system", "")], "message 0 is empty"),
    ],
)
def test_what_a_template_does_not_take_is_refused(
    template: str, chat: list[tuple[str, str]], message: str, tmp_path: Path
):
    model(tmp_path, EXPRESSED[template][0])
    said = [dict(zip(("role", "content"), each, strict=True)) for each in chat]
    finished = kvcache("tokenize", tmp_path, "--chat", json.dumps(said))
    assert_error(finished, BAD_INPUT, message)


LOOKS_AT_A_CHARACTER = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content }}"
    "{% if m.content[0] == 'a' %}!{% endif %}{% endfor %}"
)


def test_a_template_without_pieces_says_why(tmp_path: Path):
    fields = express(LOOKS_AT_A_CHARACTER, TOKENS)
    (tmp_path / "chat_template.json").write_text(json.dumps(fields))
    tokenizer("gpt2").save(str(tmp_path / "tokenizer.json"))
    finished = kvcache("tokenize", tmp_path, "--chat", "[]")
    assert_error(finished, BAD_INPUT, "cannot be expressed in pieces: it looks at")


def test_a_model_without_a_template_says_so(tmp_path: Path):
    tokenizer("gpt2").save(str(tmp_path / "tokenizer.json"))
    finished = kvcache("tokenize", tmp_path, "--chat", "[]")
    assert_error(finished, BAD_INPUT, "chat_template.json does not exist")


def test_jinja2_refuses_what_is_refused():
    """Orders of roles for which there are no pieces are those that the template refuses."""
    template = ChatTemplate(ALTERNATING, TOKENS)
    found = pieces(ALTERNATING)
    chance = random.Random(SEED)
    for _ in range(TEXTS):
        roles = KINDS[1].random(chance, 6)
        try:
            template.text(messages(roles, ["x"] * len(roles)), True, now)
            taken = True
        except TemplateError:
            taken = False
        if roles[:1] != ("system",):
            assert found.takes(roles, True) == taken, (SEED, roles)
