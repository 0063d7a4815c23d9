"""Names in the text of pages lead to their entries in the reference.

`Sequence::fork()` is C++, `kvcache_sequence_fork` C, `Sequence.fork` Python: what is spelled so and
has no entry stays as it is.
"""

from __future__ import annotations

import re

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.typing import ExtensionMetadata

PREFIXES = {"cpp": ("", "kvcache::"), "c": ("",), "py": ("", "kvcache.")}
UNNAMED = re.compile(r"^@\w+\.")  # the enumerations of C: their numbers are known by themselves
SKIPPED = {"functionParam", "templateParam", "module"}


def setup(app: Sphinx) -> ExtensionMetadata:
    """Make it an extension of Sphinx."""
    app.add_post_transform(CodeLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class CodeLinks(SphinxPostTransform):
    """Puts links around the literals that name something of the reference."""

    default_priority = 700  # after links of other kinds are resolved
    formats = ("html",)

    def run(self, **_: object) -> None:
        entries = self._entries()
        for literal in list(self.document.findall(nodes.literal)):
            if isinstance(literal.parent, nodes.reference):
                continue
            name = literal.astext().removesuffix("()")
            place = entries.get(name)
            if place is None:
                continue
            page, anchor = place
            uri = self.app.builder.get_relative_uri(self.env.docname, page)
            link = nodes.reference("", "", internal=True, refuri=f"{uri}#{anchor}")
            literal.replace_self(link)
            link += literal

    def _entries(self) -> dict[str, tuple[str, str]]:
        """Where each name has its entry, under the ways in which pages spell it."""
        kept: dict[str, tuple[str, str]] | None = getattr(self.env, "_code_links", None)
        if kept is not None:
            return kept
        found: dict[str, tuple[str, str]] = {}
        for domain, prefixes in PREFIXES.items():
            for name, _, kind, page, anchor, _ in self.env.domains[domain].get_objects():
                if kind in SKIPPED:
                    continue
                for prefix in prefixes:
                    spelled = UNNAMED.sub("", name).removeprefix(prefix)
                    if _tells_itself(spelled, domain):
                        found.setdefault(spelled, (page, anchor))
        self.env._code_links = found  # type: ignore[attr-defined]
        return found


def _tells_itself(name: str, domain: str) -> bool:
    """Whether a name alone says what is meant: no `extend`, no `length`; classes are C++'s."""
    if domain == "c":
        return True
    separator = "::" if domain == "cpp" else "."
    return separator in name or (domain == "cpp" and name[:1].isupper())
