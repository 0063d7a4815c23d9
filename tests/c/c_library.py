"""The built library through ctypes, with the types that kvcache.h declares."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

import c_header
import numpy as np
from paths import BUILD

BUILT = Path(os.environ.get("KVCACHE_BUILD_DIR", BUILD))
LIBRARY = BUILT / "tests" / "c" / "libkvcache.so"
HEADER = c_header.read(c_header.HEADER.read_text())
SIMPLE = {
    "void": None,
    "bool": ctypes.c_bool,
    "char": ctypes.c_char,
    "double": ctypes.c_double,
    "float": ctypes.c_float,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "size_t": ctypes.c_size_t,
    "uint32_t": ctypes.c_uint32,
    "uint64_t": ctypes.c_uint64,
}
STRUCTS: dict[str, type[ctypes.Structure]] = {}
OK = 0
LAST, ALL = 0, 1  # KVCACHE_LOGITS_FOR_
PREFIX_NODE = 2**64 - 1


def to_ctypes(words: str) -> type | None:
    """The type that C calls so. Handles are addresses."""
    words = words.replace("const ", "").replace(" *", "*")
    if words.endswith("*"):
        pointed = words[:-1]
        if pointed in ("void", *HEADER.handles):
            return ctypes.c_void_p
        if pointed == "char":
            return ctypes.c_char_p
        return ctypes.POINTER(to_ctypes(pointed))
    if words in HEADER.callbacks:
        return ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    if words in HEADER.structs:
        return STRUCTS[words]
    return SIMPLE[HEADER.aliases.get(words, words)]


for name, fields in HEADER.structs.items():
    STRUCTS[name] = type(
        name,
        (ctypes.Structure,),
        {"_fields_": [(of.name, to_ctypes(of.type)) for of in fields]},
    )


def load() -> ctypes.CDLL:
    """The library, each function with its types."""
    library = ctypes.CDLL(str(LIBRARY))
    for function in HEADER.functions:
        found = getattr(library, function.name)
        found.restype = to_ctypes(function.result)
        found.argtypes = [to_ctypes(argument.type) for argument in function.arguments]
    return library


class Error(Exception):
    """A function's status and the thread's message."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Library:
    """Calls by the names of kvcache.h without their beginning; a status that is not OK raises."""

    def __init__(self) -> None:
        self.functions = load()

    def __call__(self, name: str, *arguments: object) -> None:
        status = getattr(self.functions, f"kvcache_{name}")(*arguments)
        if status != OK:
            code = self.functions.kvcache_status_name(status).decode()
            raise Error(code, self.functions.kvcache_last_error_message().decode())

    def make(self, name: str, *arguments: object) -> ctypes.c_void_p:
        """The handle that a function gives by its last argument."""
        handle = ctypes.c_void_p()
        self(name, *arguments, ctypes.byref(handle))
        return handle

    def struct(self, name: str, **fields: object) -> ctypes.Structure:
        made = STRUCTS[f"kvcache_{name}"](**fields)
        made.struct_size = ctypes.sizeof(made)
        return made

    def rows(self, logits: ctypes.c_void_p) -> np.ndarray:
        """All rows, copied, [rows, vocab_size]; destroys the handle."""
        size, vocab_size = ctypes.c_size_t(), ctypes.c_size_t()
        self("logits_rows", logits, ctypes.byref(size))
        self("logits_vocab_size", logits, ctypes.byref(vocab_size))
        rows = np.empty((size.value, vocab_size.value), np.float32)
        for i in range(size.value):
            row = ctypes.POINTER(ctypes.c_float)()
            self("logits_row", logits, i, ctypes.byref(row))
            rows[i] = np.ctypeslib.as_array(row, (vocab_size.value,))
        self.functions.kvcache_logits_destroy(logits)
        return rows

    def tokens(self, sequence: ctypes.c_void_p) -> list[int]:
        first, size = ctypes.POINTER(ctypes.c_int64)(), ctypes.c_size_t()
        self("sequence_tokens", sequence, ctypes.byref(first), ctypes.byref(size))
        return first[: size.value] if size.value else []


def array(kind: type, values: Sequence[int]) -> ctypes.Array:
    return (kind * len(values))(*values)
