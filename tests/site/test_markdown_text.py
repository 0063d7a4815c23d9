"""Comments as Markdown: what they name becomes code or a link, and nothing else has a meaning."""

import markdown_text
import pytest


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "See Sequence::fork(), and Sequence.fork.",
            "See `Sequence::fork()`, and `Sequence.fork`.",
        ),
        ("docs/C.md is the page", "[docs/C.md](/docs/C.md) is the page"),
        ("kvcache_free() of kvcache.h", "`kvcache_free()` of kvcache.h"),
        ("[1 or n, vocab_size] <T> *a*", r"\[1 or n, vocab\_size\] \<T\> \*a\*"),
        ("`a[i]` is not b[i]", r"`a[i]` is not b\[i\]"),
        ("include/kvcache/types.hpp, config.json", "include/kvcache/types.hpp, config.json"),
        ("std::size_t, runs. It ends", r"std::size\_t, runs. It ends"),
    ],
)
def test_prose(text: str, shown: str) -> None:
    assert markdown_text.prose(text) == shown


def test_fields_are_apart() -> None:
    text, fields = markdown_text.fields_apart(
        "What it does.\n\n@throws Error one, two_three;\n        and four\n@param n how many"
    )
    assert text == "What it does."
    assert fields == [":throws Error: one, two\\_three; and four\n:param n: how many"]


def test_a_field_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(ValueError, match="@returns it"):
        markdown_text.fields_apart("What it does.\n@returns it")
