"""How Sphinx builds the pages; scripts/site gives it what stage.py laid out."""

import os
import re
import sys
from pathlib import Path

SITE = Path(__file__).parent
sys.path.insert(0, str(SITE))

project = "kvcache"
lists = (SITE.parents[1] / "CMakeLists.txt").read_text(encoding="utf-8")
(release,) = re.findall(r"^  VERSION ([0-9.]+)$", lists, re.MULTILINE)
author = "the kvcache authors"
project_copyright = author
language = "en"
extensions = ["myst_parser", "repository_links", "inline_pictures", "code_links"]
source_suffix = {".md": "markdown"}
root_doc = "index"

myst_enable_extensions = ["colon_fence", "fieldlist"]
myst_heading_anchors = 4  # the anchors that links of the pages name, as GitHub makes them
smartquotes = False  # quotes in error messages are as they are printed

# Where files of the repository can be seen, such as "https://example.org/kvcache/blob/main/";
# without it, a link to a file that is no page is its path.
repository_url = os.environ.get("KVCACHE_SITE_REPOSITORY", "")

nitpicky = True
# What the reference names and does not describe: standard libraries, and types inside the library.
nitpick_ignore_regex = [
    ("cpp:.*", r"(std|inference|evaluator)(::.*)?"),
    ("cpp:.*", r"kvcache|Table"),  # the namespace itself; a class's own
    ("c:.*", r"(u?int\d+_t|size_t|bool)"),
    ("py:.*", r"(?!kvcache\.)\w+\..*"),
    ("py:.*", r"Tokens|Score"),  # aliases of the modules
]
suppress_warnings = ["ref.python"]  # `bytes`, which some classes have a property of

html_theme = "furo"
html_title = f"{project} {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
maximum_signature_line_length = 70
add_function_parentheses = False
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
