"""The types that editors and mypy are told are those of the extension."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kvcache
from kvcache import _native

ROOT = Path(__file__).parents[3]
STUB = ROOT / "python" / "kvcache" / "_native.pyi"
BUILT = Path(kvcache.__file__).parent.parent  # not resolved: the extension is beside the link
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(BUILT), "MYPYPATH": str(BUILT)}

RIGHT = """\
import numpy as np
import kvcache

model = kvcache.Model.load("models", require_device="cpu")
sequence = model.new_sequence()
logits = sequence.extend(np.array([1, 2]), "all")
token: int = logits.argmax()
row: np.typing.NDArray[np.float32] = logits.row()
for new in kvcache.generate(sequence, [token], max_new_tokens=3):
    text: str = new.text
scores = kvcache.Policy(kvcache.SharedModelInferencer(model), [1]).evaluate([[1], [2, 3]])
value: float | None = scores.value
try:
    sequence.evaluate([5], [-1], nodes=[-1])
except kvcache.Error as error:
    code: kvcache.ErrorCode = error.code
chat = kvcache.ChatTemplate.load("models")
text = chat.render([{"role": "user", "content": "Hi"}], add_generation_prompt=False)

class Any(kvcache.Constraint):
    def __init__(self) -> None:
        self.vocab_size = 97
    def allow_next(self, mask: kvcache.TokenMask) -> None:
        mask.words[:] = 0xffffffff
    def may_end(self) -> bool:
        return True
    def accept(self, token: int) -> bool:
        return True
    def rollback(self, tokens: int) -> None: ...
    def fork(self) -> "Any":
        return Any()

for constraint in (kvcache.one_of([[1]], 97), Any()):
    kvcache.beam_search(sequence, [1], max_new_tokens=3, constraint=constraint)
window = kvcache.WindowedSequence(model, sliding="keep")
kvcache.generate(window, max_new_tokens=3, drafter=kvcache.PromptLookup())

async def ask(evaluator: kvcache.Evaluator) -> int:
    answer = await evaluator.submit(kvcache.ExtendRequest(sequence, [1], priority="high"))
    return answer.version
"""
WRONG = {
    'sequence.extend("text", "all")': None,  # a str is a sequence, but of str
    "sequence.extend([1.5])": "List item 0",
    'sequence.extend([1], "some")': "Argument 2",
    'kvcache.Model.load("models", require_device="tpu")': "require_device",
    "sequence.evaluate([5])": "Missing positional argument",
    "kvcache.generate(sequence, [1])": "Missing named argument",
    'chat.render([{"role": 3}])': "Dict entry 0",
    "kvcache.generate(window, max_new_tokens=3, drafter=Any())": 'Argument "drafter"',
    "sequence.nothing()": "has no attribute",
}


def mypy(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    options = ["--strict", "--no-error-summary", "--cache-dir", BUILT / ".mypy_cache"]
    command = [sys.executable, "-m", "mypy", *options, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT / "tests", check=False
    )


def test_the_stub_is_what_stubgen_makes_of_the_extension(tmp_path: Path) -> None:
    made = tmp_path / "_native.pyi"
    command = ["-m", "nanobind.stubgen", "-q", "-m", "kvcache._native", "-o", made]
    subprocess.run([sys.executable, *command], check=True, env=ENVIRONMENT)
    assert STUB.read_text() == made.read_text(), (
        "the bindings changed; with build/python on PYTHONPATH run"
        f" python {' '.join(map(str, command[:-1]))} {STUB.relative_to(ROOT)}"
    )


def test_mypy_knows_right_from_wrong(tmp_path: Path) -> None:
    right = tmp_path / "right.py"
    right.write_text(RIGHT)
    wrong = tmp_path / "wrong.py"
    wrong.write_text("from right import *\nfrom right import kvcache\n" + "\n".join(WRONG))
    said = mypy(BUILT / "kvcache" / "__init__.py", right, wrong).stdout
    assert "right.py" not in said and "kvcache/" not in said, said
    for line, expected in enumerate(WRONG.values(), 3):
        told = re.search(rf"wrong\.py:{line}: error: (.*)", said)
        assert told and (expected or "") in told[1], (line, said)


def documented() -> list[str]:
    """Names of the package with what they are documented by."""
    names = []
    for name in kvcache.__all__:
        kind = getattr(kvcache, name)
        if callable(kind) and getattr(kind, "__module__", "") == _native.__name__:
            names.append(name)
    return names


@pytest.mark.parametrize("name", documented())
def test_every_public_thing_says_what_it_is(name: str) -> None:
    thing = getattr(kvcache, name)
    assert thing.__doc__ and len(thing.__doc__) > 10, name


def test_functions_that_can_fail_say_how() -> None:
    for function in (
        kvcache.Model.load,
        kvcache.Sequence.extend,
        kvcache.Sequence.evaluate,
        kvcache.Sequence.commit,
        kvcache.extend,
        kvcache.evaluate,
        kvcache.generate,
        kvcache.beam_search,
        kvcache.one_of,
        kvcache.WindowedSequence.extend,
        kvcache.ChatTemplate.render,
        kvcache.PrefixCache.acquire,
        kvcache.Policy.evaluate,
        kvcache.Tokenizer.load,
    ):
        assert "Raises:\n    Error: " in (function.__doc__ or ""), function


def test_sources_that_docstrings_name_exist() -> None:
    named = set(re.findall(r"\b(?:include|docs)/[\w/]+\.(?:hpp|md)", STUB.read_text()))
    assert len(named) > 10
    assert [path for path in named if not (ROOT / path).exists()] == []
