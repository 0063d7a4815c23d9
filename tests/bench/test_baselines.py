"""Who takes part, and what becomes of a peer that cannot have a model."""

import re
from pathlib import Path

import baselines
import pytest
from baseline import KVCACHE, SUBJECTS, WIDTHS, MissingModelError
from processes import ProcessError


@pytest.mark.parametrize("subject", SUBJECTS)
def test_everybody_has_a_name_a_model_and_a_width_beside_kvcache(subject: str) -> None:
    everyone = baselines.all_contenders(subject, 2)
    names = [one.name for one in everyone]
    assert len(set(names)) == len(names)
    models = [one.model for one in everyone if isinstance(one.model, Path)]
    assert len(set(models)) == len(models)
    assert {one.subject for one in everyone} == {subject}
    widths = [WIDTHS.index(one.width) for one in everyone]
    assert widths == sorted(widths)
    for width in {one.width for one in everyone}:
        assert next(one for one in everyone if one.width == width).runtime == KVCACHE
    assert baselines.reference(subject, 2).name == names[0]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("openvino-genai Q8_0", "its reader fails for Q8_0 (IndexError: at)"),
        ("CTranslate2 bfloat16", "its converter fails for bfloat16 (IndexError: at)"),
    ],
)
def test_what_a_peers_own_tools_refuse_is_left_out_by_their_words(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(baselines, "MODELS", tmp_path)
    written: list[str] = []

    def run(*command: str | Path) -> str:
        words = [str(word) for word in command]
        if any("openvino" in word or "ct2" in word for word in words):
            raise ProcessError("`python` ended with status 1: IndexError: at")
        output = next(Path(word) for word in words if "partial-" in word)
        written.append(output.name)
        output.touch()
        return ""

    monkeypatch.setattr(baselines, "run", run)
    monkeypatch.setattr(baselines, "smollm2", run)
    everyone = baselines.all_contenders(baselines.SMOLLM2, 2)
    one = next(one for one in everyone if one.name == name)
    with pytest.raises(MissingModelError, match=re.escape(reason)):
        one.prepare()
    needed = ["partial-smollm2-F32.gguf", "partial-smollm2-Q8_0.gguf"]
    assert written == (needed if "openvino" in name else [])
    assert not one.model.exists()
