"""The verification notices a wrong model and measures a right one."""

from __future__ import annotations

from pathlib import Path

import checkpoints
import numpy as np
import onnx
import pytest

from kvcache_export import families, verify
from kvcache_export.errors import VerificationError
from kvcache_export.spec import DecoderSpec


@pytest.fixture
def spec(small_checkpoint: Path) -> DecoderSpec:
    return families.read_config(small_checkpoint / "config.json")[1].spec


def changed(model_dir: Path, directory: Path, change) -> Path:
    """A copy of the model with its graph changed."""
    proto = onnx.load(model_dir / "gpt2_with_cache.onnx")
    change(proto)
    onnx.save(proto, directory / "changed.onnx")
    return directory / "changed.onnx"


def test_a_right_model_agrees(small_model_dir: Path, spec: DecoderSpec):
    file = small_model_dir / "gpt2_with_cache.onnx"
    verify.check_graph(file)
    steps = []
    agreement = verify.compare_cached(
        file, spec, "float32", progress=lambda *step: steps.append(step)
    )
    assert 0 < agreement.max_abs_diff < 1e-4
    assert 1 < agreement.max_abs_logit < 100
    comparing = "comparing cached with uncached logits"
    assert steps == [(f"{comparing}, run {run} of 6", run - 1, 6) for run in range(1, 7)]


@pytest.mark.parametrize("positions", [1, 2, 3])
def test_models_shorter_than_the_usual_run(export, tmp_path: Path, positions: int):
    export("--model", checkpoints.write_random(tmp_path, n_positions=positions))


def test_a_cache_that_forgets_is_noticed(small_model_dir: Path, spec: DecoderSpec, tmp_path: Path):
    def swap_keys_and_values(proto: onnx.ModelProto) -> None:
        node = next(node for node in proto.graph.node if node.op_type == "CachedAttention")
        node.input[1], node.input[2] = node.input[2], node.input[1]

    file = changed(small_model_dir, tmp_path, swap_keys_and_values)
    with pytest.raises(VerificationError, match="cached and uncached logits differ by"):
        verify.compare_cached(file, spec, "float32")


def test_logits_that_are_nan_are_noticed(small_model_dir: Path, spec: DecoderSpec, tmp_path: Path):
    def poison(proto: onnx.ModelProto) -> None:
        bias = next(t for t in proto.graph.initializer if t.name == "final_norm.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(np.full(24, np.nan, np.float32), bias.name))

    file = changed(small_model_dir, tmp_path, poison)
    with pytest.raises(VerificationError, match="logits that are NaN or Inf"):
        verify.compare_cached(file, spec, "float32")


@pytest.fixture(scope="module")
def valued(export, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the output `value`."""
    tensors = checkpoints.weights(checkpoints.SMALL) | checkpoints.value_head(24)
    directory = tmp_path_factory.mktemp("valued")
    return export("--model", checkpoints.write(directory, checkpoints.SMALL, tensors))


def test_outputs_beside_the_logits_are_compared_too(
    valued: Path, spec: DecoderSpec, tmp_path: Path
):
    right = verify.Runner(valued / "gpt2_with_cache.onnx").run(np.array([[1, 2, 3]]), [1, 2])
    assert {name: values.shape for name, values in right.items()} == {
        "logits": (1, 3, 61),
        "value": (1, 3, 1),
    }

    def add_the_first_value(proto: onnx.ModelProto) -> None:
        """So that a value depends on what else is computed in its run."""
        node = next(node for node in proto.graph.node if node.op_type == "ValueHead")
        node.output[0] = "alone"
        own = onnx.helper
        ends = {"starts": [0], "ends": [1], "axes": [1]}
        for name, values in ends.items():
            proto.graph.initializer.append(
                own.make_tensor(name, onnx.TensorProto.INT64, [1], values)
            )
        proto.graph.node.append(own.make_node("Slice", ["alone", *ends], ["first"]))
        proto.graph.node.append(own.make_node("Add", ["alone", "first"], ["value"]))

    file = changed(valued, tmp_path, add_the_first_value)
    with pytest.raises(VerificationError, match="cached and uncached value differ by"):
        verify.compare_cached(file, spec, "float32")


def test_values_that_are_nan_are_noticed(valued: Path, spec: DecoderSpec, tmp_path: Path):
    def poison(proto: onnx.ModelProto) -> None:
        bias = next(t for t in proto.graph.initializer if t.name == "value_head.output.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(np.full(1, np.nan, np.float32), bias.name))

    file = changed(valued, tmp_path, poison)
    with pytest.raises(VerificationError, match="value that are NaN or Inf"):
        verify.compare_cached(file, spec, "float32")


def test_an_invalid_graph_is_noticed(small_model_dir: Path, tmp_path: Path):
    file = changed(small_model_dir, tmp_path, lambda proto: proto.graph.node.pop(0))
    with pytest.raises(VerificationError, match="not valid ONNX"):
        verify.check_graph(file)


def test_a_model_that_does_not_run_is_noticed(
    small_model_dir: Path, spec: DecoderSpec, tmp_path: Path
):
    def shrink(proto: onnx.ModelProto) -> None:
        bias = next(t for t in proto.graph.initializer if t.name == "final_norm.bias")
        bias.CopyFrom(onnx.numpy_helper.from_array(np.ones(23, np.float32), bias.name))

    file = changed(small_model_dir, tmp_path, shrink)
    with pytest.raises(VerificationError, match="ONNX Runtime fails on the written model"):
        verify.compare_cached(file, spec, "float32")
