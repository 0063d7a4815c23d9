"""`CachedAttention`'s body: what it computes, and refuses as only the library's kernels can."""

from __future__ import annotations

import checkpoints
import numpy as np
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument
from plain_ort import PlainModel

from kvcache_export.nodes.attention import GUARD_NAME

HEAD_DIM = checkpoints.SMALL["n_embd"] // checkpoints.SMALL["n_head"]

IN_PLACE = {
    "block_table": np.zeros((1, 1), np.int32),
    "past_lengths": np.zeros(1, np.int32),
    "append_positions": np.zeros(1, np.int32),
    "row_offsets": np.zeros(2, np.int32),
    "tree_parents": np.zeros(3, np.int32),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_inputs_are_refused_by_an_error_that_says_so(small_model: PlainModel, name: str):
    with pytest.raises(Fail, match=GUARD_NAME):
        small_model.run(np.ones((1, 3)), **{name: IN_PLACE[name]})


def test_empty_in_place_inputs_are_as_good_as_none(small_model: PlainModel):
    ids = np.arange(6).reshape(2, 3)
    empty = {name: value[..., :0] for name, value in IN_PLACE.items()}
    for found, expected in zip(
        small_model.run(ids, **empty)[1], small_model.run(ids)[1], strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("cache_dtype", ["float16", "int8"])
def test_keys_and_values_are_rounded_once_and_attended_to_as_they_are_kept(
    export, small_checkpoint, cache_dtype: str
):
    """So that logits do not depend on which tokens one run computed: cached = uncached."""
    model = PlainModel(export("--model", small_checkpoint, "--cache-dtype", cache_dtype))
    ids = np.arange(12)[None]
    at_once, presents = model.run(ids)
    first, past = model.run(ids[:, :7])
    second, grown = model.run(ids[:, 7:], past)
    assert {present.dtype for present in (*presents, *grown)} == {np.dtype(cache_dtype)}
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), at_once, atol=1e-4)
    for found, expected in zip(grown, presents, strict=True):
        if cache_dtype == "int8":  # a value, and the lower byte of the scale, by one
            assert found.shape[3] == HEAD_DIM + 2
            np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)
        else:
            np.testing.assert_array_max_ulp(found, expected, maxulp=1)


def test_positions_outside_the_sequence_are_refused(small_model: PlainModel):
    with pytest.raises(InvalidArgument, match="indices element out of data bounds"):
        small_model.run(np.ones((1, 3)), logits_positions=np.array([3]))
