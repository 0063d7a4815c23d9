"""A checkpoint's chat template goes into the model directory, with its pieces."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import pytest
import xxhash
from chat_templates import CHATML

from kvcache_export import chat
from kvcache_export.chat import limited
from kvcache_export.errors import ExportError

SETTINGS, SOURCE = "tokenizer_config.json", "chat_template.jinja"


def write(directory: Path, **files: object) -> Path:
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (directory / {"settings": SETTINGS, "source": SOURCE}[name]).write_text(text)
    return directory


def test_is_found_in_each_place(tmp_path: Path):
    assert chat.find(tmp_path) is None
    write(tmp_path, settings={"bos_token": "<s>"})
    assert chat.find(tmp_path) is None
    write(tmp_path, settings={"bos_token": "<s>", "chat_template": "a"})
    assert chat.find(tmp_path) == chat.Template("a", {"bos_token": "<s>"})
    several = [{"name": "tool_use", "template": "b"}, {"name": "default", "template": "c"}]
    write(tmp_path, settings={"chat_template": several})
    assert chat.find(tmp_path).source == "c"
    write(tmp_path, source="d")
    assert chat.find(tmp_path).source == "d"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"settings": {"chat_template": 3}}, "chat_template must be a text, or a list"),
        ({"settings": {"chat_template": []}}, "chat_template must be a text, or a list"),
        ({"settings": {"chat_template": "x" * (1 << 20) + "x"}}, "must have at most 1048576"),
        ({"settings": {"chat_template": "\ud800"}}, "holds half of a character"),
        ({"source": "x" * (1 << 20) + "x"}, "must have at most 1048576"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_none_is_refused(files: dict, message: str, tmp_path: Path):
    with pytest.raises(ExportError) as caught:
        chat.find(write(tmp_path, **files))
    assert message in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path):
    (tmp_path / SOURCE).write_bytes(b"\xff")
    with pytest.raises(ExportError, match="is not UTF-8"):
        chat.find(tmp_path)


def test_the_model_has_it_and_stops_where_a_turn_ends(export, tmp_path: Path, capsys):
    directory = checkpoints.write_random(tmp_path, eos_token_id=9)
    added = [{"content": text, "id": id_} for text, id_ in (("<|im_end|>", 7), ("<|im_", 8))]
    (tmp_path / "tokenizer.json").write_text(json.dumps({"added_tokens": added}))
    write(tmp_path, settings={"chat_template": CHATML})
    model = export("--model", directory)
    assert "Note: chat template in pieces, of system, user, assistant" in capsys.readouterr().out
    config = json.loads((model / "config.json").read_text())
    assert config["stop_token_ids"] == [9, 7]
    files = {file["name"]: file for file in config["files"] if file["role"] == "template"}
    assert sorted(files) == [SOURCE, "chat_template.json"]
    for name, file in files.items():
        content = (model / name).read_bytes()
        assert file["xxh3_128"] == xxhash.xxh3_128_hexdigest(content)
    assert (model / SOURCE).read_text() == CHATML
    assert json.loads((model / "chat_template.json").read_text())["expressed"]


def test_a_template_without_pieces_is_said(tmp_path: Path):
    template = chat.Template("{% for m in messages %}{{ m.content[0] }}{% endfor %}", {})
    assert template.note().startswith("the chat template cannot be expressed in pieces: ")
    assert template.end_of_turn(["x"]) is None
    written = dict(template.write(tmp_path))
    assert set(written.values()) == {"template"}
    assert not json.loads((tmp_path / "chat_template.json").read_text())["expressed"]


def test_a_program_without_end_is_ended(monkeypatch):
    monkeypatch.setattr(limited, "SECONDS", 2)
    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    reason = limited.express(loop, {})["reason"]
    assert "trying it takes more than 2 s or 1 GiB (ended by signal" in reason


def test_without_jinja2(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ExportError, match="needs the Python package jinja2; run: python -m"):
        limited.express("", {})
