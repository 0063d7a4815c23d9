"""The C interface through ctypes gives what the Python package gives, to the last bit."""

from __future__ import annotations

import ctypes
import os
import random
import sys
import threading
from pathlib import Path

import c_library
import numpy as np
import pytest
from c_library import ALL, PREFIX_NODE, Error, Library, array

ROOT = Path(__file__).parents[2]
MODELS = Path(os.environ.get("KVCACHE_MODELS_DIR", c_library.BUILT / "goldens"))
STEPS = 150

# Before python/, which has the same package without its extension.
sys.path.insert(0, str(c_library.BUILT / "python"))

import kvcache  # noqa: E402


@pytest.fixture(scope="module")
def c() -> Library:
    return Library()


@pytest.fixture(scope="module")
def model(c: Library) -> ctypes.c_void_p:
    return c.make("model_load", str(MODELS / "value-head").encode(), None)


@pytest.fixture(scope="module")
def python_model() -> kvcache.Model:
    return kvcache.Model.load(MODELS / "value-head")


class Twins:
    """One sequence of each side, with the same tokens."""

    def __init__(self, c: Library, handle: ctypes.c_void_p, sequence: kvcache.Sequence) -> None:
        self.c, self.handle, self.sequence = c, handle, sequence

    def __del__(self) -> None:
        self.c.functions.kvcache_sequence_destroy(self.handle)

    def check(self) -> None:
        assert self.c.tokens(self.handle) == self.sequence.tokens.tolist()

    def extend(self, tokens: list[int]) -> None:
        given = array(ctypes.c_int64, tokens)
        logits = self.c.make("sequence_extend", self.handle, given, len(tokens), ALL)
        expected = self.sequence.extend(tokens, "all")
        value, size = ctypes.POINTER(ctypes.c_float)(), ctypes.c_size_t()
        for row in range(len(tokens)):
            wanted = (b"value", row, ctypes.byref(value), ctypes.byref(size))
            self.c("logits_output", logits, *wanted)
            assert value[: size.value] == expected.output("value", row).tolist()
        np.testing.assert_array_equal(self.c.rows(logits), expected.to_numpy())

    def rewind(self, length: int) -> None:
        self.c("sequence_rewind", self.handle, length)
        self.sequence.rewind(length)

    def fork(self) -> Twins:
        return Twins(self.c, self.c.make("sequence_fork", self.handle), self.sequence.fork())

    def evaluate(
        self, tokens: list[int], parents: list[int], nodes: list[int], commit: int | None
    ) -> None:
        evaluation = self.c.make(
            "sequence_evaluate",
            self.handle,
            *(array(ctypes.c_int64, tokens), array(ctypes.c_int32, parents), len(tokens)),
            *(array(ctypes.c_size_t, nodes), len(nodes)),
        )
        chosen = [-1 if node == PREFIX_NODE else node for node in nodes]
        expected = self.sequence.evaluate(tokens, parents, chosen)
        rows = self.c.rows(self.c.make("tree_evaluation_logits", evaluation))
        np.testing.assert_array_equal(rows, expected.logits.to_numpy())
        if commit is not None:
            self.c("sequence_commit", self.handle, evaluation, commit)
            self.sequence.commit(expected, commit)
        self.c.functions.kvcache_tree_evaluation_destroy(evaluation)


def extend_together(c: Library, batch: list[tuple[Twins, list[int]]]) -> None:
    extensions = (c_library.STRUCTS["kvcache_extension"] * len(batch))()
    for extension, (twins, tokens) in zip(extensions, batch, strict=True):
        extension.struct_size = ctypes.sizeof(extension)
        extension.sequence = twins.handle
        extension.tokens = array(ctypes.c_int64, tokens)
        extension.num_tokens = len(tokens)
        extension.logits_for = ALL
    logits = (ctypes.c_void_p * len(batch))()
    c("extend", extensions, len(batch), logits)
    expected = kvcache.extend([(twins.sequence, tokens, "all") for twins, tokens in batch])
    for handle, result in zip(logits, expected, strict=True):
        np.testing.assert_array_equal(c.rows(handle), result.to_numpy())


@pytest.mark.parametrize("attempt", range(2))
def test_random_histories(
    c: Library, model: ctypes.c_void_p, python_model: kvcache.Model, attempt: int
) -> None:
    seed = int(os.environ.get("KVCACHE_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"KVCACHE_TEST_SEED={seed}")
    draw = random.Random(seed)
    info = python_model.info

    def new() -> Twins:
        return Twins(c, c.make("model_new_sequence", model), python_model.new_sequence())

    def tokens(most: int) -> list[int]:
        return [draw.randrange(info.vocab_size) for _ in range(draw.randint(1, most))]

    several = [new() for _ in range(3)]
    for _ in range(STEPS):
        i = draw.randrange(len(several))
        twins = several[i]
        room = info.max_seq_len - twins.sequence.length
        match draw.choice(["extend", "extend", "batch", "fork", "rewind", "tree", "tree"]):
            case "extend" if room > 0:
                twins.extend(tokens(min(room, 6)))
            case "batch":
                chosen = [x for x in several if x.sequence.length < info.max_seq_len - 4]
                if chosen:
                    extend_together(c, [(x, tokens(4)) for x in chosen])
            case "fork":
                several[draw.randrange(len(several))] = twins.fork()
            case "rewind":
                twins.rewind(draw.randint(0, twins.sequence.length))
            case "tree" if room > 0:
                of_nodes = tokens(min(room, 6))
                parents = [draw.randrange(-1, node) for node in range(len(of_nodes))]
                prefix = [PREFIX_NODE] if twins.sequence.length else []
                nodes = draw.choices([*range(len(of_nodes)), *prefix], k=draw.randint(0, 4))
                commit = draw.choice([None, draw.randrange(len(of_nodes))])
                twins.evaluate(of_nodes, parents, nodes, commit)
        for x in several:
            x.check()


def test_what_the_model_says_of_itself(
    c: Library, model: ctypes.c_void_p, python_model: kvcache.Model
) -> None:
    info = c.struct("model_info")
    c("model_get_info", model, ctypes.byref(info))
    expected = python_model.info
    for name, _ in info._fields_:
        if hasattr(expected, name):
            said = getattr(expected, name)
            found = getattr(info, name)
            if name == "stop_token_ids":
                assert found[: info.num_stop_token_ids] == said
            elif name.endswith("token_id"):
                assert found == (-1 if said is None else said)
            elif "dtype" in name:
                assert (said, found) == ("float32", 0), name
            else:
                assert (found.decode() if isinstance(found, bytes) else found) == said, name
    assert info.num_outputs == len(expected.outputs) == 1


CALLS = [function for function in c_library.HEADER.functions if function.result == "kvcache_status"]


@pytest.mark.parametrize("function", CALLS, ids=lambda function: function.name)
def test_nothing_is_no_argument(c: Library, function) -> None:
    """NULL for each pointer and 0 for each number."""
    nothing = [
        None if issubclass(of, (ctypes._Pointer, ctypes.c_void_p, ctypes.c_char_p)) else of(0)
        for of in getattr(c.functions, function.name).argtypes
    ]
    with pytest.raises(Error) as raised:
        c(function.name.removeprefix("kvcache_"), *nothing)
    if function.name in ("kvcache_extend", "kvcache_evaluate"):  # of no elements, rightly nothing
        assert raised.value.code == "empty_input"
    else:
        assert raised.value.code == "invalid_argument"
        assert str(raised.value).startswith(f"{function.name}: ")
        assert " is NULL, must point to" in str(raised.value)


def test_codes_are_those_of_the_other_languages(c: Library) -> None:
    names = [c.functions.kvcache_status_name(i + 1).decode() for i in range(len(kvcache.ErrorCode))]
    assert names == [code.value for code in kvcache.ErrorCode]
    assert c.functions.kvcache_status_name(len(names) + 1) == b"unknown"


@pytest.mark.parametrize(
    "tokens", [[], [-1], [1, 1 << 40], [1] * 65], ids=["none", "negative", "large", "many"]
)
def test_errors_have_the_same_code_and_message(
    c: Library, model: ctypes.c_void_p, python_model: kvcache.Model, tokens: list[int]
) -> None:
    sequence = c.make("model_new_sequence", model)
    with pytest.raises(kvcache.Error) as expected:
        python_model.new_sequence().extend(tokens)
    with pytest.raises(Error) as raised:
        given = array(ctypes.c_int64, tokens)
        c.make("sequence_extend", sequence, given, len(tokens), ALL)
    assert (raised.value.code, str(raised.value)) == (expected.value.code, str(expected.value))
    assert c.tokens(sequence) == []
    c.functions.kvcache_sequence_destroy(sequence)


def test_threads_have_messages_of_their_own(c: Library, model: ctypes.c_void_p) -> None:
    """And run side by side: ctypes gives up the interpreter's lock."""
    barrier = threading.Barrier(4)
    seen: list[tuple[int, str]] = []

    def work(number: int) -> None:
        sequence = c.make("model_new_sequence", model)
        for _ in range(50):
            barrier.wait()
            with pytest.raises(Error) as raised:
                given = array(ctypes.c_int64, [1000 + number])
                c.make("sequence_extend", sequence, given, 1, ALL)
            seen.append((number, str(raised.value)))
        c.functions.kvcache_sequence_destroy(sequence)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 200
    assert all(f"token 0 of the input is {1000 + number}," in text for number, text in seen)


def test_tokenizers(c: Library, tmp_path: Path) -> None:
    json = (
        '{"model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]},'
        ' "added_tokens": []}'
    )
    (tmp_path / "tokenizer.json").write_text(json)
    tokenizer = c.make("tokenizer_load", str(tmp_path).encode())
    expected = kvcache.Tokenizer.load(tmp_path)
    for text in ("", "a", "abba", "aabab"):
        tokens, size = ctypes.POINTER(ctypes.c_int64)(), ctypes.c_size_t()
        given = (text.encode(), len(text), None, ctypes.byref(tokens), ctypes.byref(size))
        c("tokenizer_encode", tokenizer, *given)
        assert tokens[: size.value] == expected.encode(text)
        c.functions.kvcache_free(tokens)
    c.functions.kvcache_tokenizer_destroy(tokenizer)


def test_messages_reach_a_callback(c: Library) -> None:
    """That a step cannot be captured, for nodes of ONNX Runtime's compute an activation."""
    seen: list[str] = []
    options = c.struct("model_options")
    c("model_options_init", ctypes.byref(options), ctypes.sizeof(options))
    kind = dict(options._fields_)["log"]
    options.log = kind(lambda _, text, size: seen.append(ctypes.string_at(text, size).decode()))
    options.require_device = 1  # KVCACHE_DEVICE_CPU
    path = MODELS / "unscaled-upcast-silu"
    model = c.make("model_load", str(path).encode(), ctypes.byref(options))
    sequence = c.make("model_new_sequence", model)
    for token in range(4):
        given = array(ctypes.c_int64, [token])
        c.rows(c.make("sequence_extend", sequence, given, 1, ALL))
    c.functions.kvcache_sequence_destroy(sequence)
    c.functions.kvcache_model_destroy(model)
    assert [text for text in seen if "goes on node by node" in text]
