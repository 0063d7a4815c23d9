"""Which templates have pieces, and what those without say."""

from __future__ import annotations

import pytest
from chat_templates import EXPRESSED, UNEXPRESSED

from kvcache_export.chat.environment import ChatTemplate
from kvcache_export.chat.pieces import WHITESPACE
from kvcache_export.chat.probe import express, pieces_of

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}


@pytest.mark.parametrize("name", EXPRESSED)
def test_expressed(name: str):
    source, roles, extends = EXPRESSED[name]
    fields = express(source, TOKENS)
    assert fields["expressed"]
    assert {entry["after"] for entry in fields["between"]} - {None} == roles
    assert fields["extends"] == extends


@pytest.mark.parametrize("name", UNEXPRESSED)
def test_not_expressed(name: str):
    source, reason = UNEXPRESSED[name]
    fields = express(source, TOKENS)
    assert not fields["expressed"]
    assert reason in fields["reason"]


def test_whitespace_is_taken_off_where_the_template_does():
    pieces = pieces_of(ChatTemplate(EXPRESSED["system in user"][0], TOKENS))
    trims = {
        (place.before, place.after): (piece.trim_before, piece.trim_after)
        for place, piece in pieces.between.items()
    }
    assert trims[None, "system"] == ("", "")
    assert trims["system", "user"] == ("", "")
    assert trims[None, "user"] == ("", WHITESPACE)
    assert trims["user", "assistant"] == (WHITESPACE, WHITESPACE)


def test_contents_that_are_treated_otherwise_are_refused():
    fields = express(EXPRESSED["reasoning"][0], TOKENS)
    assert fields["refused"] == [
        {"role": "assistant", "containing": ["</think>"], "empty": False, "blank": False}
    ]
    fields = express(EXPRESSED["skips empty"][0], TOKENS)
    assert fields["refused"] == [
        {"role": "system", "containing": [], "empty": True, "blank": False}
    ]


def test_times_are_parts_of_pieces():
    fields = express(EXPRESSED["dated"][0], TOKENS)
    (first,) = (
        entry
        for entry in fields["between"]
        if (entry["before"], entry["after"]) == (None, "system")
    )
    assert first["text"] == ["<s><|start|>system\nToday: ", {"time": "%d %b %Y"}, "\n\n"]


def test_the_same_template_has_the_same_pieces():
    source = EXPRESSED["reasoning"][0]
    assert express(source, TOKENS) == express(source, TOKENS)
