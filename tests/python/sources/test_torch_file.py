"""Files of torch.save: their tensors, whatever they are nested in; no code of theirs is run."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest

from kvcache_export import model, sources
from kvcache_export.errors import ExportError
from kvcache_export.precision import Precision

HIDDEN = checkpoints.SMALL["n_embd"]
TENSORS = {
    **{f"model.{name}": value for name, value in checkpoints.weights(checkpoints.SMALL).items()},
    **checkpoints.value_head(HIDDEN),
}
MODEL_CONFIG = {
    **{"vocab_size": 61, "hidden_size": 24, "num_layers": 2, "num_heads": 2, "max_seq_len": 32},
}
CONFIG = {
    "model": {
        "type": "ValueCausalLoss",
        "config": {
            "model_config": {"type": "GPT2CausalLM", "config": MODEL_CONFIG},
            "value_head_config": {"intermediate_dim": 10, "bottleneck_dim": 6, "hidden_dim": 24},
        },
    }
}


def test_without_torch_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (tmp_path / "a.chkpt").write_bytes(b"PK")
    with pytest.raises(ExportError) as error:
        sources.from_torch_file(tmp_path / "a.chkpt")
    assert str(error.value) == (
        f"{tmp_path}/a.chkpt is a file of PyTorch, and Python package torch is missing; run: python"
        " -m pip install torch, or convert the file to safetensors where torch is"
    )


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="torch is not installed")


def save(torch: Any, path: Path, around=lambda tensors: tensors) -> Path:
    """The checkpoint of TENSORS within what `around` puts about its state dictionary."""
    tensors = {name: torch.from_numpy(value) for name, value in TENSORS.items()}
    torch.save(around(tensors), path)
    return path


def of_training(tensors: dict) -> dict:
    """As trigoRL saves it."""
    state = {"state": {0: {"step": 5}}, "param_groups": [{"lr": 1e-4, "params": [0]}]}
    return {
        **{"epoch": 3, "global_step": 70, "best_val_metric": 1.5, "scheduler_state_dict": None},
        **{"model_state_dict": tensors, "optimizer_state_dict": state, "config": CONFIG},
    }


def read(path: Path) -> sources.Source:
    source = sources.from_torch_file(path)
    model.with_weights(source, Precision("float32", "float32"))
    return source


def test_a_training_needs_nothing_beside_it(torch, tmp_path: Path):
    source = read(save(torch, tmp_path / "latest.chkpt", of_training))
    assert source.origin == "latest.chkpt"
    assert source.notes == ()
    assert source.spec.value_head.inner_sizes == (10, 6)
    for name, value in TENSORS.items():
        bare = name.removeprefix("model.")
        np.testing.assert_array_equal(source.weights.read(bare, value.shape), value)


@pytest.mark.parametrize(
    "around",
    [
        lambda tensors: tensors,
        lambda tensors: {"state_dict": tensors, "epoch": 1},
        lambda tensors: {"model": tensors},
        lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
    ],
    ids=["at the top", "state_dict", "model", "wrapped"],
)
def test_a_state_dictionary_needs_a_config_beside_it(torch, tmp_path: Path, around):
    path = save(torch, tmp_path / "a.pt", around)
    with pytest.raises(ExportError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: it holds no config, and tensors do not tell the number of heads; put the model's"
        " config.json beside it"
    )
    (tmp_path / "config.json").write_text(json.dumps(checkpoints.SMALL))
    source = read(path)
    assert source.spec.value_head.inner_sizes == (10, 6)


def test_other_element_types(torch, tmp_path: Path):
    (tmp_path / "config.json").write_text(json.dumps(checkpoints.SMALL))
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        path = save(torch, tmp_path / "a.pt", lambda of: {n: t.to(dtype) for n, t in of.items()})  # noqa: B023
        weight = read(path).weights.read("value_head.fc1.weight", (10, 24))
        expected = torch.from_numpy(TENSORS["value_head.fc1.weight"]).to(dtype).to(torch.float64)
        np.testing.assert_array_equal(weight.astype(np.float64), expected.numpy())
    path = save(torch, tmp_path / "a.pt", lambda of: {n: t.to(torch.int8) for n, t in of.items()})
    with pytest.raises(
        ExportError, match=r"has element type torch\.int8, expected one of F64, F32"
    ):
        read(path)


def test_tensors_that_lie_elsewhere(torch, tmp_path: Path):
    """Transposed views and parameters, as a state dictionary made by hand may have them."""
    (tmp_path / "config.json").write_text(json.dumps(checkpoints.SMALL))
    name = "value_head.fc1.weight"

    def transposed(tensors: dict) -> dict:
        return {**tensors, name: torch.nn.Parameter(tensors[name].t().contiguous().t())}

    source = read(save(torch, tmp_path / "a.pt", transposed))
    np.testing.assert_array_equal(source.weights.read(name, (10, 24)), TENSORS[name])


class Evil:
    """Runs a command where it is unpickled without care."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return (os.system, (f"touch {self.trace}",))


def test_no_code_is_run(torch, tmp_path: Path):
    path = save(torch, tmp_path / "a.pt", lambda of: {**of, "more": Evil(tmp_path / "trace")})
    with pytest.raises(ExportError) as error:
        sources.from_torch_file(path)
    assert f"cannot read {path}: it must be a file of torch.save that holds tensors" in str(
        error.value
    )
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a file of torch.save"),
        (b"PK\x03\x04 but no archive", "must be a file of torch.save"),
        (b"\x80\x02garbage", "must be a file of torch.save"),
    ],
    ids=["empty", "archive", "pickle"],
)
def test_files_of_something_else(torch, tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=re.escape(message)):
        sources.from_torch_file(path)


def test_a_file_that_was_cut_off(torch, tmp_path: Path):
    path = save(torch, tmp_path / "a.pt")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(ExportError, match=r"must be a file of torch\.save"):
        sources.from_torch_file(path)


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ([1, 2], "must hold a dictionary, not list"),
        ({"epoch": 1, "state_dict": {}}, "holds no tensors by name, at its top or as model_state_"),
        ({"state_dict": {"a": 1}}, "it has ['state_dict']"),
    ],
)
def test_files_without_tensors(torch, tmp_path: Path, held: object, message: str):
    torch.save(held, tmp_path / "a.pt")
    with pytest.raises(ExportError, match=re.escape(message)):
        sources.from_torch_file(tmp_path / "a.pt")


def test_a_config_that_is_not_the_tensors(torch, tmp_path: Path):
    other = {**MODEL_CONFIG, "num_layers": 3}
    config = {"model": {"type": "GPT2CausalLM", "config": other}}
    path = save(torch, tmp_path / "a.pt", lambda of: {**of_training(of), "config": config})
    with pytest.raises(ExportError, match=r"missing tensor 'transformer\.h\.2\.ln_1\.weight'"):
        read(path)


def test_a_config_that_cannot_be_honoured_names_the_file(torch, tmp_path: Path):
    config = {"model": {"type": "LlamaCausalLM", "config": {}}}
    path = save(torch, tmp_path / "a.pt", lambda of: {**of_training(of), "config": config})
    with pytest.raises(ExportError) as error:
        read(path)
    assert str(error.value) == (
        f"{path}: unsupported type of model: 'LlamaCausalLM' (supported: GPT2CausalLM)"
    )
