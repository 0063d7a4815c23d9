"""Links of the pages: to other pages by their titles, and to files and folders of the repository.

A page says [FORK.md](FORK.md), which tells a reader of the repository where to look; here it is the
title that tells. What is no page is a link where it is known how to see the repository. MyST
reports what is not in the repository either.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import quote

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.typing import ExtensionMetadata

ROOT = Path(__file__).resolve().parents[2]


def setup(app: Sphinx) -> ExtensionMetadata:
    """Make it an extension of Sphinx."""
    app.add_config_value("repository_url", "", "env")
    app.add_post_transform(RepositoryLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


class RepositoryLinks(SphinxPostTransform):
    """Gives links to pages their titles, and resolves those to files and folders."""

    default_priority = 8  # MyST's own, at 9, reports what is left

    def run(self, **_: object) -> None:
        for node in list(self.document.findall(pending_xref)):
            if node["reftype"] != "myst":
                continue
            if node.get("refdomain") == "doc":
                self._give_title(node)
            elif not node.get("refdomain"):
                found = self._resolved(node)
                if found is not None:
                    node.replace_self(found)

    def _give_title(self, node: pending_xref) -> None:
        """Where a link to a page is called by the page's path."""
        page = node["reftarget"]
        if page in self.env.titles and f"{page}.md".endswith(node.astext()):
            title = nodes.inline("", self.env.titles[page].astext())
            node.children = []
            node += title

    def _resolved(self, node: pending_xref) -> nodes.Node | None:
        """A link to a folder's page or to the repository, or the path alone."""
        page_here = node.get("refdoc", self.env.docname)
        path = (ROOT / PurePosixPath(page_here).parent / node["reftarget"]).resolve()
        if "#" in node["reftarget"] or not path.exists() or not path.is_relative_to(ROOT):
            return None
        relative = path.relative_to(ROOT).as_posix()
        content = [child.deepcopy() for child in node.children]
        page = f"{relative}/README"
        if page in self.env.found_docs:
            uri = self.app.builder.get_relative_uri(page_here, page)
            return nodes.reference("", "", *content, internal=True, refuri=uri)
        if self.config.repository_url:
            uri = self.config.repository_url + quote(relative)
            return nodes.reference("", "", *content, internal=False, refuri=uri)
        place = nodes.literal("", relative)
        if node.astext() in (relative, path.name):
            return place
        return nodes.inline("", "", *content, nodes.Text(" ("), place, nodes.Text(")"))
