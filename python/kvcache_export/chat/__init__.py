"""Chat templates: from Jinja2 to pieces that are put together without it (docs/CHAT.md).

In the order the data flows: files finds a checkpoint's template, limited tries it in a process of
its own, where environment renders it as transformers does, conversations are what it is tried with,
watched contents note what it asks of them, and probe finds its pieces.
"""

from __future__ import annotations

from .files import NAMES, ROLE, SOURCE, Template, checked, find

__all__ = ["NAMES", "ROLE", "SOURCE", "Template", "checked", "find"]
