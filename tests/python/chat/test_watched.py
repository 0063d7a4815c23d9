"""What a template asks of a content is noted, and the content is a text like any other."""

from __future__ import annotations

import pytest

from kvcache_export.chat.environment import ChatTemplate
from kvcache_export.chat.watched import Notes, joined, watched


def asked(expression: str, content: str = " a b ") -> Notes:
    notes = Notes()
    source = f"{{% for m in messages %}}{{{{ {expression} }}}}{{% endfor %}}"
    template = ChatTemplate(source, {})
    plain = template.text([{"role": "user", "content": content}], False, str)
    found = template.text([{"role": "user", "content": watched(content, notes)}], False, str)
    assert found == plain
    return notes


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("m.content", Notes()),
        ("m.content + 'x' ~ m.content", Notes()),
        ("m.content | trim", Notes()),
        ("m.content.strip('x')", Notes(trimmed={"x"})),
        ("m.content is string", Notes()),
        ("m.content is iterable", Notes()),
        ("'x' in m.content", Notes(searched={"x"})),
        ("('<' ~ m.content).split('x')[-1]", Notes(searched={"x"})),
        ("m.content.startswith(('x', 'y'))", Notes(searched={"x", "y"})),
        ("m.content | replace('x', 'y')", Notes(searched={"x"})),
        ("m.content == 'x'", Notes(searched={"x"})),
        ("1 if m.content else 2", Notes(emptiness=True)),
        ("m.content != ''", Notes(emptiness=True)),
        ("m.content | length > 0", Notes(emptiness=True)),
        ("m.content | length > 3", Notes(looks={"its length"})),
        ("m.content[0]", Notes(looks={"__getitem__"})),
        ("m.content | upper", Notes(looks={"upper"})),
        ("m.content.split()", Notes(looks={"split without a text"})),
        ("m.content | list", Notes(looks={"its characters", "its length"})),
        ("m.content == m.content", Notes(looks={"whether it is another message's"})),
        ("'x' in (m.content | trim)", Notes(searched={"x"})),
    ],
)
def test_notes(expression: str, expected: Notes):
    assert asked(expression) == expected


def test_through_macros_and_blocks():
    source = (
        "{% macro f(x) %}<{{ x }}>{% endmacro %}{% for m in messages %}"
        "{% set y %}{{ f(m.content) }}{% endset %}{{ 'q' in y }}{% endfor %}"
    )
    notes = Notes()
    said = [{"role": "user", "content": watched("a", notes)}]
    assert ChatTemplate(source, {}).text(said, False, str) == "False"
    assert notes.searched == {"q"}


def test_what_is_joined_has_the_notes_of_all():
    notes = Notes(), Notes()
    whole = joined(["x", *(watched("a", each) for each in notes)])
    assert "b" not in whole
    assert [each.searched for each in notes] == [{"b"}, {"b"}]
    assert type(joined(["a", "b"])) is str
