"""An ONNX export's directory: which file is the graph, and what its config says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import json_file
from ..errors import ExportError
from . import genai_config
from .onnx_file import OnnxFile

# As exporters call the graph that runs over a cache, the best first.
GRAPHS = (
    *("model.onnx", "decoder_model_merged.onnx", "decoder_with_past_model.onnx"),
    *("onnx/model.onnx", "onnx/decoder_model_merged.onnx", "onnx/decoder_with_past_model.onnx"),
)
CONFIG, GENAI_CONFIG = "config.json", "genai_config.json"


def graph_of(directory: Path) -> Path | None:
    """The graph of an export that lies here, None where there is none.

    Raises ExportError where there are several and none has a usual name.
    """
    for name in GRAPHS:
        if (directory / name).exists():
            return directory / name
    found = sorted(directory.glob("*.onnx"))
    if len(found) > 1:
        raise ExportError(
            f"{directory} has {len(found)} ONNX files ({', '.join(path.name for path in found)});"
            " name one: --model FILE.onnx"
        )
    return found[0] if found else None


def directory_of(file: OnnxFile) -> Path:
    """Where the config and the tokenizer of a graph are: beside it, or above a folder onnx."""
    directory = file.path.parent
    beside = [directory] + ([directory.parent] if directory.name == "onnx" else [])
    for name in (CONFIG, GENAI_CONFIG):
        for each in beside:
            if (each / name).exists():
                return each
    return directory


def fields_of(file: OnnxFile) -> dict[str, Any]:
    """The fields of the config.json of a graph, or what is known without one."""
    directory = directory_of(file)
    if (directory / CONFIG).exists():
        return _checked(directory / CONFIG)
    if (directory / GENAI_CONFIG).exists():
        return genai_config.fields_of(directory / GENAI_CONFIG, file)
    raise ExportError(
        f"no {CONFIG} beside {file.path}: a graph does not tell all of a model; put that of the"
        " checkpoint there that it was made of"
    )


def _checked(path: Path) -> dict[str, Any]:
    fields = json_file.read_object(path)
    if fields.get("format") == "kvcache":
        raise ExportError(
            f"{path.parent} is a model of this exporter's already; export the checkpoint that it"
            " was made of"
        )
    fields.pop("quantization_config", None)  # the graph says how its weights are stored
    return fields
