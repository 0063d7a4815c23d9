"""The two ways an export fails. Their messages are the line the user reads."""

from __future__ import annotations


class ExportError(Exception):
    """Something the user can put right: bad input, no connection, a full disk (exit code 2)."""


class VerificationError(Exception):
    """The written model does not compute what it should; nothing was published (exit code 1)."""
