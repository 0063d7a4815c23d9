"""Puts the drawings of docs/ into the pages themselves, so that they have the colours of the page.

A drawing that a page only refers to has the colours of the system, not those chosen on the page.
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.typing import ExtensionMetadata

SVG = "http://www.w3.org/2000/svg"


def setup(app: Sphinx) -> ExtensionMetadata:
    """Make it an extension of Sphinx."""
    app.add_post_transform(InlinePictures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class InlinePictures(SphinxPostTransform):
    """Replaces references to drawings of docs/pictures by these."""

    default_priority = 5  # before Sphinx collects the files of images
    formats = ("html",)

    def run(self, **_: object) -> None:
        for image in list(self.document.findall(nodes.image)):
            path = Path(self.env.srcdir) / image["uri"]
            if path.suffix == ".svg" and path.parent.name == "pictures":
                shown = inline(path.read_text(encoding="utf-8"), image.get("alt", ""))
                image.replace_self(nodes.raw("", shown, format="html"))


def inline(svg: str, alt: str) -> str:
    """A drawing without its own colours of text, which are for who sees the file alone."""
    ElementTree.register_namespace("", SVG)
    root = ElementTree.fromstring(svg)
    for style in root.findall(f"{{{SVG}}}style"):
        root.remove(style)
    root.attrib |= {"class": "picture", "role": "img", "aria-label": alt}
    text = ElementTree.tostring(root, encoding="unicode")
    return re.sub(r"\n\s*", "\n", text)
