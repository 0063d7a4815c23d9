"""The command export_trigo_kvcache.py: what it takes, what it refuses, what it writes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from plain_ort import PlainModel

from kvcache_export import cli, trigo

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "goldens" / "value-head"


def export(tmp_path: Path, *arguments: object) -> PlainModel:
    output = tmp_path / "model"
    assert trigo.main([*map(str, arguments), "--output-dir", str(output)]) == 0
    return PlainModel(output)


def refuse(capsys: pytest.CaptureFixture, *arguments: object, message: str) -> None:
    try:
        code = trigo.main([str(argument) for argument in arguments])
    except SystemExit as end:
        code = end.code
    assert code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def values_of_golden(model: PlainModel) -> np.ndarray:
    ids = json.loads((GOLDEN / "golden.json").read_text())["ids"]
    return model.run(np.array([ids]))[1][0][0, :, 0]


def test_the_script_exports_hugging_faces_golden(tmp_path: Path):
    script = [sys.executable, ROOT / "export_trigo_kvcache.py", "--model", GOLDEN]
    result = subprocess.run(
        [*script, "--output-dir", tmp_path], capture_output=True, text=True, check=True
    )
    assert "\n  Value head: 32 → 24 → 16 → 1 (relu, tanh)\n" in result.stdout
    assert result.stderr == ""
    model = PlainModel(tmp_path)
    assert [output["name"] for output in model.config["outputs"]] == ["logits", "value"]
    np.testing.assert_allclose(values_of_golden(model), np.load(GOLDEN / "values.npy"), atol=1e-5)


@pytest.mark.parametrize(("preset", "hidden"), [("trigo-64", 64), ("trigo-256", 256)])
def test_presets_differ_by_their_seed(tmp_path: Path, preset: str, hidden: int):
    ids = np.array([[1, *b"[Board 5x5]\n\n1. ", 3]])
    found = []
    for seed in (1, 1, 2):
        model = export(tmp_path, "--random-init", preset, "--seed", seed)
        assert model.config["spec"]["hidden_size"] == hidden
        assert model.config["source"] == f"random-init:{preset}:seed={seed}"
        assert (model.config["bos_token_id"], model.config["eos_token_id"]) == (1, 2)
        logits, (value, *_) = model.run(ids)
        assert logits.shape == (1, 18, 128)
        assert np.ptp(value) > 0.01
        assert np.abs(value).max() < 1
        found.append(value)
    np.testing.assert_array_equal(found[0], found[1])
    assert np.abs(found[0] - found[2]).max() > 0.01


def test_a_checkpoint_without_a_value_head(tmp_path: Path, small_checkpoint: Path, capsys):
    refuse(
        capsys,
        "--model",
        small_checkpoint,
        message=f"{small_checkpoint} has no value head, neither tensors value_head.* nor value_head"
        " in its config; with --policy-only it is exported without the output value",
    )
    refuse(capsys, "--random-init", "gpt2", message="gpt2 has no value head")
    model = export(tmp_path, "--model", small_checkpoint, "--policy-only")
    assert [output["name"] for output in model.config["outputs"]] == ["logits"]


def test_policy_only_leaves_a_value_head_out(tmp_path: Path, capsys):
    model = export(tmp_path, "--model", GOLDEN, "--policy-only")
    assert [output["name"] for output in model.config["outputs"]] == ["logits"]
    assert model.config["spec"]["value_head"] is None
    assert "Note" not in capsys.readouterr().out
    ids = json.loads((GOLDEN / "golden.json").read_text())["ids"]
    logits, _ = model.run(np.array([ids]))
    np.testing.assert_allclose(logits[0], np.load(GOLDEN / "logits.npy"), atol=1e-4)


def test_a_value_head_of_trls_is_none(tmp_path: Path, capsys):
    """It is another one, whose numbers mean something else."""
    tensors = checkpoints.weights(checkpoints.SMALL)
    tensors["v_head.summary.weight"] = np.ones((1, 24), np.float32)
    checkpoints.write(tmp_path, checkpoints.SMALL, tensors)
    refuse(capsys, "--model", tmp_path, message="has no value head")


@pytest.mark.parametrize("directory", [False, True])
def test_trainings_of_trigorl(tmp_path: Path, capsys, directory: bool):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from safetensors.numpy import load_file

    config = json.loads((GOLDEN / "config.json").read_text())
    model = {
        **{"vocab_size": config["vocab_size"], "hidden_size": config["n_embd"]},
        **{"num_layers": config["n_layer"], "num_heads": config["n_head"]},
        **{"max_seq_len": config["n_positions"]},
    }
    head = {"hidden_dim": 32, "intermediate_dim": 24, "bottleneck_dim": 16}
    inner = {"model_config": {"type": "GPT2CausalLM", "config": model}, "value_head_config": head}
    tensors = load_file(GOLDEN / "model.safetensors")
    held = {
        "model_state_dict": {name: torch.from_numpy(each) for name, each in tensors.items()},
        "config": {"model": {"type": "ValueCausalLoss", "config": inner}},
    }
    training = tmp_path / "training"
    file = training / "checkpoints" / "latest.chkpt"
    file.parent.mkdir(parents=True)
    (training / "config.yaml").write_text("id: x\n")
    torch.save(held, file)
    exported = export(tmp_path, "--model", training if directory else file)
    np.testing.assert_allclose(
        values_of_golden(exported), np.load(GOLDEN / "values.npy"), atol=1e-5
    )
    assert exported.config["source"] == "latest.chkpt"
    assert "Note" not in capsys.readouterr().out


def test_arguments(tmp_path: Path, capsys):
    refuse(capsys, message="one of the arguments --model --random-init is required")
    refuse(capsys, "--model", "", message="argument --model: it is empty")
    refuse(capsys, "--model", "./nowhere", message="no such directory: './nowhere'")
    refuse(capsys, "--model", tmp_path, message=f"cannot read {tmp_path}/config.json")
    refuse(capsys, "--random-init", "trigo-65", message="no such architecture or file: 'trigo-65'")
    refuse(capsys, "--model", GOLDEN, "--seed", "1", message="--seed has a meaning with")


def test_every_example_of_the_help_parses():
    examples = re.findall(r"^  export_trigo_kvcache\.py(.*?)  ", trigo.EXAMPLES, re.MULTILINE)
    assert len(examples) == 4
    for arguments in examples:
        cli._parse(arguments.split(), trigo.TRIGO)


def test_the_other_command_has_no_flag_of_this_one(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--policy-only"])
    assert "unrecognized arguments: --policy-only" in capsys.readouterr().err
