"""The page of the Python reference, of the type stub and the modules: nothing is imported.

So the page needs no built extension, and shows the types that editors are told.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from markdown_text import directive, prose

_SOURCES = (".py", ".pyi")  # of an extension, its stub
MODULES = {  # after the package itself
    "kvcache.scoring": "scoring.py",
    "kvcache.transformers_like": "transformers_like.py",
    "kvcache.lm_eval_adapter": "lm_eval_adapter.py",
}
SECTION = re.compile(r"^(Args|Raises|Attributes|Source|Yields|Returns):[ ]?(.*)$", re.MULTILINE)
NAMED = re.compile(r"^    ?\s*(\w+): (.*)$")
SHOWN_SPECIAL = {"__init__", "__len__", "__iter__", "__await__", "__array__", "__dlpack__"}
SHORT = {  # what would be most of a line
    "_Sequence[": "collections.abc.Sequence[",
    "numpy.typing.NDArray": "numpy.ndarray",
    "npt.NDArray": "numpy.ndarray",
    "npt.ArrayLike": "numpy.typing.ArrayLike",
    "[np.": "[numpy.",
    "kvcache._interfaces.": "",
}
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Entry:
    """A class, function, method or property."""

    kind: str  # of Sphinx's Python domain
    name: str
    signature: str
    options: list[str]
    docstring: str
    members: list[Entry] = field(default_factory=list)


def package_page(package: Path) -> str:
    """The page of the package: what `kvcache` has, then its modules."""
    parts = ["# kvcache", _paragraphs(_docstring(package / "__init__.py"))]
    parts.append(directive("py:module", "kvcache", ""))
    parts += [_shown(entry) for entry in package_entries(package)]
    for module, file in MODULES.items():
        parts += [f"## {module}", _paragraphs(_docstring(package / file))]
        parts.append(directive("py:module", module, ""))
        parts += [_shown(entry) for entry in _entries(package / file)]
    return "\n\n".join(filter(None, parts)) + "\n"


def package_entries(package: Path) -> list[Entry]:
    """What `import kvcache` gives, by name: that which `__init__.py` imports and lists."""
    known: dict[str, list[Entry]] = {}
    for module, names in _imports(package / "__init__.py"):
        (path,) = (path for path in package.glob(f"{module}.py*") if path.suffix in _SOURCES)
        for entry in _entries(path):
            if entry.name in names:
                entry.name = names[entry.name]
                known.setdefault(entry.name, []).append(entry)
    public = sorted(_all(package / "__init__.py"), key=str.lower)
    return [entry for name in public for entry in known[name]]


def _imports(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Modules beside a file that it imports from, what, and under which names."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            yield node.module, {alias.name: alias.asname or alias.name for alias in node.names}


def _all(path: Path) -> list[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise ValueError(f"{path} has no __all__")


def _docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""


def _entries(path: Path) -> list[Entry]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return list(_of_body(tree.body, in_class=False))


def _of_body(body: Iterable[ast.stmt], *, in_class: bool) -> Iterator[Entry]:
    seen: set[str] = set()
    for node in body:
        if isinstance(node, Definition) and _is_shown(node.name):
            entry = _entry(node, in_class=in_class)
            if node.name in seen:  # a further overload, or a property's setter
                entry.options.append(":no-index:")
            seen.add(node.name)
            yield entry
        elif in_class and isinstance(node, ast.Assign):  # a member of an enumeration
            yield Entry("attribute", ast.unparse(node.targets[0]), "", [], "")
        elif isinstance(node, ast.AnnAssign) and _is_shown(ast.unparse(node.target)):
            options = [f":type: {_short(ast.unparse(node.annotation))}"]
            kind = "attribute" if in_class else "data"
            yield Entry(kind, ast.unparse(node.target), "", options, "")


def _is_shown(name: str) -> bool:
    return not name.startswith("_") or name in SHOWN_SPECIAL


def _entry(node: Definition, *, in_class: bool) -> Entry:
    docstring = ast.get_docstring(node) or ""
    if isinstance(node, ast.ClassDef):
        members = list(_of_body(node.body, in_class=True))
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        init = next((one for one in members if one.name == "__init__"), None)
        signature = init.signature if init else ""
        note = f"Derived from `{bases}`.\n\n" if bases and "Generic" not in bases else ""
        said = init.docstring if init else ""
        members = [one for one in members if one.name != "__init__"]
        docstring = note + "\n\n".join(filter(None, [docstring, said]))
        return Entry("class", node.name, signature, [], docstring, members)
    decorators = {ast.unparse(decorator) for decorator in node.decorator_list}
    if "property" in decorators or any(name.endswith(".setter") for name in decorators):
        options = [f":type: {_short(ast.unparse(node.returns))}"] if node.returns else []
        return Entry("property", node.name, "", options, docstring)
    options = [":staticmethod:"] if "staticmethod" in decorators else []
    options += [":classmethod:"] if "classmethod" in decorators else []
    is_bound = in_class and "staticmethod" not in decorators
    kind = "method" if in_class else "function"
    return Entry(kind, node.name, _signature(node, is_bound=is_bound), options, docstring)


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, *, is_bound: bool) -> str:
    arguments = node.args
    if is_bound:
        (arguments.posonlyargs or arguments.args).pop(0)
    result = f" -> {ast.unparse(node.returns)}" if node.returns and node.name != "__init__" else ""
    return _short(f"({ast.unparse(arguments)}){result}")


def _short(types: str) -> str:
    for long, short in SHORT.items():
        types = types.replace(long, short)
    return types


def _shown(entry: Entry, depth: int = 0) -> str:
    members = [_shown(member, depth + 1) for member in entry.members]
    text = "\n\n".join(filter(None, [_paragraphs(entry.docstring), *members]))
    return directive(f"py:{entry.kind}", entry.name + entry.signature, text, depth, entry.options)


def _paragraphs(docstring: str) -> str:
    """A docstring in Google's style as Markdown: prose, indented code, and sections as fields."""
    text, *rest = SECTION.split(docstring)
    shown = [_prose_and_code(text)]
    for title, first, body in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        if title == "Source":
            continue  # the file's name: the reference of C++ has the same
        shown.append(_fields(title, first, body))
    return "\n\n".join(filter(None, shown))


def _prose_and_code(text: str) -> str:
    """Indented paragraphs are code, those that follow each other one block of it."""
    paragraphs = re.split(r"\n\n+", text.strip("\n"))
    shown = []
    for is_code, some in groupby(paragraphs, lambda paragraph: paragraph.startswith("    ")):
        joined = "\n\n".join(some)
        shown.append(f"```python\n{textwrap.dedent(joined)}\n```" if is_code else prose(joined))
    return "\n\n".join(shown)


def _fields(title: str, first: str, body: str) -> str:
    kind = {"Args": "param", "Raises": "raises", "Attributes": "ivar"}.get(title)
    if kind is None:
        return f":{title.lower()}: {prose(' '.join(f'{first} {body}'.split()))}"
    fields: list[str] = []
    for line in body.splitlines():
        named = NAMED.match(line)
        indent = len(line) - len(line.lstrip())
        if named and indent == 4:
            fields.append(f":{kind} {named[1]}: {prose(named[2])}")
        elif line.strip() and fields:
            fields[-1] += f" {prose(line.strip())}"
    return "\n".join(fields)
