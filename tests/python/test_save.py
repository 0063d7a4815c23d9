"""The model's files: which there are, and how they lie."""

from __future__ import annotations

from pathlib import Path

import checkpoints
import numpy as np
import onnx
import pytest
from plain_ort import PlainModel

from kvcache_export import save

EXTERNAL = ["config.json", "gpt2_with_cache.onnx", "gpt2_with_cache.onnx.data"]
SINGLE = EXTERNAL[:2]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def placement(model_dir: Path) -> dict[str, dict[str, int]]:
    """Offset and length of each external tensor, in the order of the graph."""
    proto = onnx.load(model_dir / "gpt2_with_cache.onnx", load_external_data=False)
    fields = {t.name: {e.key: e.value for e in t.external_data} for t in proto.graph.initializer}
    return {
        name: {"offset": int(field["offset"]), "length": int(field["length"])}
        for name, field in fields.items()
        if field
    }


def test_large_tensors_are_external_and_each_on_its_page(small_model_dir: Path):
    assert names(small_model_dir) == EXTERNAL
    placed = placement(small_model_dir)
    assert "embedding.tokens.weight" in placed
    assert all(tensor["offset"] % 4096 == 0 for tensor in placed.values())
    assert all(tensor["length"] > 1024 for tensor in placed.values())


def test_weights_lie_in_the_order_they_are_read(small_model_dir: Path):
    placed = placement(small_model_dir)
    assert list(placed)[:3] == [
        "embedding.tokens.weight",
        "embedding.positions.weight",
        "layers.0.attention.qkv.weight",
    ]
    offsets = [tensor["offset"] for tensor in placed.values()]
    assert offsets == sorted(offsets)


def test_single_file_computes_the_same(small_model: PlainModel, small_checkpoint: Path, export):
    single = export("--model", small_checkpoint, "--single-file")
    assert names(single) == SINGLE
    ids = np.arange(10)[None]
    np.testing.assert_array_equal(PlainModel(single).run(ids)[0], small_model.run(ids)[0])


def test_over_two_gigabytes_a_single_file_is_refused(
    small_checkpoint: Path, export, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(save, "SINGLE_FILE_WEIGHT_BYTES", 10_000)
    assert names(export("--model", small_checkpoint, "--single-file")) == EXTERNAL
    assert "Note: over protobuf's 2 GB" in capsys.readouterr().out


def test_the_same_input_gives_the_same_bytes(small_model_dir: Path, small_checkpoint: Path, export):
    again = export("--model", small_checkpoint)
    for name in EXTERNAL[1:]:
        assert (again / name).read_bytes() == (small_model_dir / name).read_bytes()


def test_single_file_replaces_an_export_with_external_weights(
    small_checkpoint: Path, export, tmp_path: Path
):
    from kvcache_export.cli import main

    arguments = ["--model", str(small_checkpoint), "--output-dir", str(tmp_path)]
    assert main(arguments) == 0
    (tmp_path / "notes.txt").write_text("mine")
    assert main([*arguments, "--single-file"]) == 0
    assert names(tmp_path) == sorted([*SINGLE, "notes.txt"])


def test_page_alignment_wastes_little(export, tmp_path: Path):
    model = export("--model", checkpoints.write_random(tmp_path, vocab_size=20_000))
    used = sum(tensor["length"] for tensor in placement(model).values())
    assert (model / "gpt2_with_cache.onnx.data").stat().st_size < used + 4096 * 20


@pytest.mark.parametrize("option", [[], ["--single-file"]], ids=str)
@pytest.mark.parametrize("name", ["transformer.ln_f.bias", "transformer.h.0.mlp.c_fc.weight"])
def test_a_tensor_that_cannot_be_written_is_named(
    tmp_path: Path, name: str, option: list[str], capsys: pytest.CaptureFixture
):
    """Whether it goes to the file of the weights or, being small, stays in the graph."""
    from kvcache_export.cli import main

    tensors = checkpoints.weights(checkpoints.SMALL)
    tensors[name].flat[0] = np.nan
    checkpoint = checkpoints.write(tmp_path / "in", checkpoints.SMALL, tensors)
    assert main(["--model", str(checkpoint), "--output-dir", str(tmp_path / "out"), *option]) == 2
    error = capsys.readouterr().err
    size = tensors[name].size
    assert error == f"error: tensor {name!r} holds NaN or Inf (1 of {size} values)\n"
    assert not (tmp_path / "out" / "config.json").exists()
