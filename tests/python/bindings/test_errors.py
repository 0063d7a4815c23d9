"""One exception, with the codes of C++."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import pytest

import kvcache
from kvcache import _native

ROOT = Path(__file__).parents[3]


def test_codes_are_those_of_cpp() -> None:
    assert [str(code) for code in kvcache.ErrorCode] == _native.error_codes()
    assert all(code.name == code.value for code in kvcache.ErrorCode)


def test_every_code_has_its_line_on_the_page() -> None:
    page = (ROOT / "docs" / "ERRORS.md").read_text()
    assert [code for code in kvcache.ErrorCode if f"| `{code}` |" not in page] == []


def test_an_error_has_a_code_and_can_be_sent(sequence: kvcache.Sequence) -> None:
    with pytest.raises(RuntimeError) as raised:
        sequence.extend([])
    error = raised.value
    assert isinstance(error, kvcache.Error)
    assert error.code is kvcache.ErrorCode.empty_input and error.code == "empty_input"
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (type(twin), twin.code, str(twin)) == (kvcache.Error, error.code, str(error))
