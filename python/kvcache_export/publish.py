"""Puts a model's files in place so that every moment finds a whole model there, old or new.

Three files cannot be renamed at once, and config.json holds the digests of the others. So the new
model first stands beside the old one under names that only it has, `.export-….onnx` and
`.export-….onnx.data`, and one renaming makes config.json describe it. From then on those who read
config.json have the new model. The usual names follow, in an order in which the graph of the usual
name always finds its own weights: first a graph that reads the weights under their temporary name,
then the weights, then the graph that reads them. At last config.json describes the usual names, and
nobody needs the temporary ones any more.

A process that is killed in between leaves such a model, which loads; the next export tidies up.
"""

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import onnx

from . import chat, manifest, tokenizer_files
from .errors import ExportError
from .fields import is_file_name
from .output_directory import TEXT_NAMES, Staging, named_files
from .save import CONFIG_FILE, DATA_SUFFIX

TEXT_ROLES = (tokenizer_files.ROLE, chat.ROLE)


def publish(staged: Staging, config: dict[str, Any]) -> None:
    """Moves the files that `config` describes from the staging directory to the output directory.

    Raises OSError where nothing has changed, and ExportError where the new model stands under its
    temporary names. Unused files of an earlier model go.
    """
    output, directory = staged.output, staged.directory
    named = {file["role"]: file["name"] for file in config["files"]}
    model, weights = named["graph"], named.get("weights")
    of_text = [file["name"] for file in config["files"] if file["role"] in TEXT_ROLES]
    used = {file["name"] for file in config["files"]}
    unused = {model + DATA_SUFFIX, *_of_earlier_model(output)} - used
    graph, data = staged.beside(".onnx"), staged.beside(".onnx.data")
    interim = directory / "interim.onnx"
    if weights:
        _copy_with_weights_in(directory / model, interim, data.name)
    else:
        _link(directory / model, interim)
    _write_json(directory / CONFIG_FILE, config)
    interim_config = _config_of_interim(config, interim, graph, data, staged)
    _write_json(directory / "interim.json", interim_config)
    for path in directory.iterdir():
        flush(path)

    if weights:
        _link(directory / weights, data)
    _link(interim, graph)
    for name in of_text:
        _link(directory / name, staged.beside("." + name))
    flush(output)
    (directory / "interim.json").replace(output / CONFIG_FILE)
    try:
        flush(output)
        if weights:
            interim.replace(output / model)
            flush(output)
            (directory / weights).replace(output / weights)
        (directory / model).replace(output / model)
        for name in of_text:
            (directory / name).replace(output / name)
        flush(output)
        (directory / CONFIG_FILE).replace(output / CONFIG_FILE)
        for name in unused:
            (output / name).unlink(missing_ok=True)
        flush(output)
    except OSError as error:
        raise ExportError(
            f"{output} holds the new model, but its files could not get their usual names"
            f" ({error.strerror}); export again"
        ) from error


def _of_earlier_model(output: Path) -> set[str]:
    """What the model that stood here is made of, were it of another family and named otherwise."""
    return {
        name
        for name in named_files(output / CONFIG_FILE)
        if is_file_name(name)
        and (name.endswith((".onnx", ".onnx" + DATA_SUFFIX)) or name in TEXT_NAMES)
        and (output / name).is_file()
    }


def _copy_with_weights_in(graph: Path, copy: Path, data: str) -> None:
    """The same graph, which reads its weights from a file of another name."""
    model = onnx.load(graph, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = data
    onnx.save(model, copy)


def _config_of_interim(
    config: dict[str, Any], interim: Path, graph: Path, data: Path, staged: Staging
) -> dict[str, Any]:
    """The same config of the same model under its temporary names."""

    def beside(file: dict[str, Any]) -> dict[str, Any]:
        return {**file, "name": staged.beside("." + file["name"]).name}

    described = {
        **dict.fromkeys(TEXT_ROLES, beside),
        "graph": lambda _: {**manifest.describe(interim, "graph"), "name": graph.name},
        "weights": lambda file: {**file, "name": data.name},
    }
    files = [described[file["role"]](file) for file in config["files"]]
    return {**config, "model_file": graph.name, "files": files}


def _write_json(path: Path, config: dict[str, Any]) -> None:
    path.write_text(json.dumps(config, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _link(path: Path, other: Path) -> None:
    """A second name for the file, or a copy where the file system has no such names."""
    try:
        os.link(path, other)
    except OSError:
        shutil.copyfile(path, other)
        flush(other)


def flush(path: Path) -> None:
    """Has a file, or the names in a directory, written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot, which is no reason to fail
            raise
    finally:
        os.close(descriptor)
