"""The exporter's one error type: its message is the line the user reads."""

from __future__ import annotations


class ExportError(Exception):
    """Something the user can put right: bad input, an unreachable hub, a full disk (exit code 2)."""


class VerificationError(Exception):
    """The written model does not compute what it should; nothing was published (exit code 1)."""
