"""A chat template as transformers' `apply_chat_template` renders it: the oracle of everything here.

Templates come with checkpoints, so they run in Jinja2's sandbox, with what transformers gives them:
blocks trimmed, `tojson`, `raise_exception`, `strftime_now`, loop controls and the tag `generation`,
which marks what an assistant says and leaves no trace in the text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox

from .watched import Watched, joined

Message = Mapping[str, str]


class TemplateError(Exception):
    """What a template says to messages that it does not take, or that is wrong with itself."""


class Generation(jinja2.ext.Extension):
    """The tag of transformers' AssistantTracker."""

    tags = {"generation"}  # noqa: RUF012 (as Jinja2 reads it)

    def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.CallBlock:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


class _Code(jinja2.compiler.CodeGenerator):
    """The operator `~` as the environment joins texts."""

    def visit_Concat(  # noqa: N802 (Jinja2's name)
        self, node: jinja2.nodes.Concat, frame: jinja2.compiler.Frame
    ) -> None:
        self.write("environment.concat((")
        for each in node.nodes:
            self.write("str(")
            self.visit(each, frame)
            self.write("), ")
        self.write("))")


class _Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """What is joined of watched texts is watched."""

    code_generator_class = _Code
    concat = staticmethod(joined)


class ChatTemplate:
    """One template and the special tokens that it may name, by their names (`bos_token`)."""

    def __init__(self, source: str, tokens: Mapping[str, str]):
        """Raises TemplateError where it is no template."""
        environment = _Environment(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[Generation, jinja2.ext.loopcontrols],
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = self._formatted
        environment.filters["length"] = environment.filters["count"] = _length
        self._tokens = dict(tokens)
        self._now: Callable[[str], str] = str
        try:
            self._template = environment.from_string(source)
            self._parsed = environment.parse(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise TemplateError(_reason(error)) from error

    def _formatted(self, format_: str) -> str:
        return self._now(format_)

    def literals(self) -> list[str]:
        """The texts that its expressions are written with."""
        constants = (each.value for each in self._parsed.find_all(jinja2.nodes.Const))
        return sorted({value for value in constants if isinstance(value, str)})

    def text(self, messages: Sequence[Message], generation: bool, now: Callable[[str], str]) -> str:
        """The text of messages; `generation` asks for what begins an answer.

        `now` formats the time, as strftime does. Raises TemplateError, whatever the template met.
        """
        self._now = now
        try:
            text = self._template.render(
                messages=list(messages),
                tools=None,
                documents=None,
                add_generation_prompt=generation,
                **self._tokens,
            )
            return str.__str__(text)
        except Exception as error:  # a template may do whatever an expression can
            raise TemplateError(_reason(error)) from error


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Without Jinja2's escapes for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _length(value: Any) -> int:
    """Jinja2's, which may be watched as what it is the length of."""
    return value.length() if isinstance(value, Watched) else len(value)


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
