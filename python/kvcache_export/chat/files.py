"""A checkpoint's chat template: where it is, and the files that the model directory has of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from .. import json_file, special_tokens, tokenizer_files
from ..errors import ExportError
from ..json_file import shown
from . import limited
from .pieces import ROLES

ROLE = "template"
NAMES = SOURCE, PIECES = "chat_template.jinja", "chat_template.json"
MAX_BYTES = 1 << 20  # the largest of 70 known templates has 22 kB
DEFAULT = "default"  # of several


@dataclass(frozen=True)
class Template:
    """A template and the special tokens that it may name, by these names."""

    source: str
    tokens: Mapping[str, str]

    @cached_property
    def fields(self) -> dict[str, Any]:
        """Those of chat_template.json: its pieces, or why it has none."""
        return limited.express(self.source, self.tokens)

    def note(self) -> str:
        """What the user is told of it."""
        if not self.fields["expressed"]:
            return f"the chat template cannot be expressed in pieces: {self.fields['reason']}"
        found = {entry["after"] for entry in self.fields["between"]}
        return f"chat template in pieces, of {', '.join(role for role in ROLES if role in found)}"

    def end_of_turn(self, tokens: Iterable[str]) -> str | None:
        """The one of `tokens` that stands first behind an assistant's message, if one does."""
        between = self.fields.get("between", ())
        behind = [each for each in between if each["before"] == "assistant" and each["text"]]
        ends = [each for each in behind if each["after"] is None and not each["generation"]]
        for entry in ends or behind:
            first = entry["text"][0]
            if isinstance(first, str):
                found = [token for token in tokens if token and first.lstrip().startswith(token)]
                return max(found, key=len, default=None)
        return None

    def write(self, directory: Path) -> list[tuple[Path, str]]:
        """Its files in a directory, each with its role."""
        source, pieces = directory / SOURCE, directory / PIECES
        source.write_text(self.source, encoding="utf-8", newline="")
        text = json.dumps(self.fields, ensure_ascii=False, indent=1)
        pieces.write_text(text + "\n", encoding="utf-8", newline="")
        return [(source, ROLE), (pieces, ROLE)]


def find(directory: Path) -> Template | None:
    """That of a checkpoint's directory: a file of its own, else a field of tokenizer_config.json.

    Raises ExportError where it is no text.
    """
    file, settings = directory / SOURCE, directory / tokenizer_files.SETTINGS
    source = None
    if file.is_file():
        source = _read(file)
    elif settings.is_file():
        given = json_file.read_object(settings).get("chat_template")
        source = checked(_default(given), f"{settings}: chat_template")
    return None if source is None else Template(source, special_tokens.texts(directory))


def checked(source: Any, name: str) -> str | None:
    """A template that is a text of a sensible size, or none; `name` is what an error calls it."""
    if source is None:
        return None
    if not isinstance(source, str):
        raise ExportError(f"{name} must be a text, or a list of names and texts with 'default'")
    try:
        size = len(source.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise ExportError(f"{name} holds half of a character: {shown(source)}") from error
    if size > MAX_BYTES:
        raise ExportError(f"{name} has {size} bytes, must have at most {MAX_BYTES}")
    return source


def _default(given: Any) -> Any:
    """Of several templates the one that is taken where nobody names another."""
    if not isinstance(given, list):
        return given
    named = {
        each["name"]: each.get("template")
        for each in given
        if isinstance(each, Mapping) and isinstance(each.get("name"), str)
    }
    return named.get(DEFAULT, given)


def _read(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            read = opened.read(MAX_BYTES + 1)
        return checked(read.decode("utf-8"), str(file))
    except UnicodeDecodeError as error:
        raise ExportError(f"{file} is not UTF-8: {error}") from error
    except OSError as error:
        raise ExportError(f"cannot read {file}: {error.strerror}") from error
