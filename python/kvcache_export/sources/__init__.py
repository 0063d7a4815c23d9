"""The model to export: a checkpoint of a directory or the Hugging Face hub, or random weights."""

import errno
import os
import stat
from dataclasses import replace
from pathlib import Path

from .. import chat, families, special_tokens, tokenizer_files, value_heads
from ..errors import ExportError
from ..family import Config, Family
from ..sentencepiece_pieces import UnsupportedTokenizerError
from . import training_config
from .checkpoint import CheckpointWeights
from .onnx_directory import directory_of, fields_of, graph_of
from .random_weights import RandomWeights
from .shards import check_no_adapter, has_safetensors, locate
from .source import Source

ADVICE = "give a directory with config.json and safetensors, or a model id of the hub"


def from_checkpoint(model: str) -> Source:
    """A directory with config.json and safetensors, or a model id on the Hugging Face hub."""
    mode = _mode(model)
    if stat.S_ISREG(mode) and model.endswith(".gguf"):
        return from_gguf(Path(model))
    if stat.S_ISREG(mode) and model.endswith(".onnx"):
        return from_onnx(Path(model))
    if stat.S_ISDIR(mode):
        directory, origin = Path(model), _printable(Path(model).resolve().name)
    elif mode or model.startswith((".", "/", "~")):
        raise ExportError(f"no such directory: {model!r}; {ADVICE}")
    else:
        directory, origin = _download(model), model
    check_no_adapter(directory)  # one alone has no config.json
    if not has_safetensors(directory) and (graph := graph_of(directory)) is not None:
        return from_onnx(graph)
    family, config = families.read_config(directory / "config.json")
    weights = CheckpointWeights(directory, locate(directory), family)
    return _with_text(_source(origin, family, config, weights), directory)


def from_gguf(file: Path) -> Source:
    """A model of llama.cpp, its tensors dequantised."""
    from .gguf_file import GgufFile

    tensors = GgufFile(file)
    try:
        fields = tensors.fields()
        family = families.find(fields)
        config = family.parse(fields)
    except ExportError as error:
        raise ExportError(f"{file}: {error}") from error
    weights = CheckpointWeights(file, dict.fromkeys(tensors, tensors), family)
    source = _source(_printable(file.resolve().name), family, config, weights)
    try:
        text = tensors.tokenizer_json()
    except ExportError as error:
        raise ExportError(f"{file}: {error}") from error
    except UnsupportedTokenizerError as error:
        text = None
        source = replace(source, notes=(*source.notes, f"no tokenizer: {file}: {error}"))
    if text is not None:
        source = replace(source, tokenizer=(tokenizer_files.Made(text),))
    return _with_template(source, tensors.chat_template(), tensors.added_tokens())


def from_onnx(file: Path) -> Source:
    """Somebody else's ONNX export: Optimum's, onnxruntime-genai's or one of their kind."""
    from . import onnx_attributes
    from .onnx_file import OnnxFile
    from .onnx_weights import OnnxTensors

    graph = OnnxFile(file)
    fields = fields_of(graph)
    try:
        family = families.find(fields)
        config = family.parse(fields)
    except ExportError as error:
        raise ExportError(f"{file}, by its config: {error}") from error
    onnx_attributes.check(graph, config.spec)
    tensors = OnnxTensors(graph, family, config)
    weights = CheckpointWeights(file, dict.fromkeys(tensors, tensors), family)
    source = _source(_printable(file.resolve().parent.name), family, config, weights)
    notes = (*source.notes, *onnx_attributes.notes(graph, config.spec))
    return _with_text(replace(source, notes=notes), directory_of(graph))


def from_torch_file(file: Path) -> Source:
    """A file of torch.save: a training of trigoRL's, or a state dictionary beside a config.json."""
    from . import torch_file  # most exports need no torch

    held = torch_file.load(file)
    tensors = torch_file.TorchFile(file, held)
    try:
        if "config" in held:
            family = families.find({"model_type": "gpt2"})
            config = family.parse(training_config.gpt2_fields(held["config"]))
        elif (beside := file.parent / "config.json").exists():
            family, config = families.read_config(beside)
        else:
            raise ExportError(
                "it holds no config, and tensors do not tell the number of heads; put the model's"
                " config.json beside it"
            )
    except ExportError as error:
        raise ExportError(f"{file}: {error}") from error
    weights = CheckpointWeights(file, dict.fromkeys(tensors, tensors), family)
    return _source(_printable(file.resolve().name), family, config, weights)


def _source(origin: str, family: Family, config: Config, weights: CheckpointWeights) -> Source:
    """What the tensors say counts where it is more than the config's word."""
    spec, notes = config.spec, []
    try:
        found = value_heads.of_tensors(weights.names(), weights.shape, spec.hidden_size)
    except ExportError as error:
        raise ExportError(f"{error} ({weights.where})") from error
    if spec.value_head is None and found is not None:
        spec = replace(spec, value_head=found)
        notes.append(
            f"value_head.* make the output value ({found.activation} between its layers,"
            f" {found.output_activation} at its end: config.json's value_head may say otherwise)"
        )
    if spec.head.tied and not weights.ties_head():
        spec = replace(spec, head=replace(spec.head, tied=False))
        notes.append(
            f"{', '.join(family.tensors('head.weight'))} differs from the token embedding, so it is"
            " the head, as in transformers, though config.json ties them"
        )
    return Source(origin, family, replace(config, spec=spec), weights, notes=tuple(notes))


def _with_text(source: Source, directory: Path) -> Source:
    """The same with what its directory has for texts: tokenizer, special tokens, chat template."""
    config = special_tokens.completed(source.config, directory)
    try:
        source = replace(source, config=config, tokenizer=tokenizer_files.find(directory))
    except UnsupportedTokenizerError as error:
        source = replace(source, config=config, notes=(*source.notes, f"no tokenizer: {error}"))
    return _with_template(source, chat.find(directory), special_tokens.added(directory))


def _with_template(source: Source, template: chat.Template | None, added: dict[str, int]) -> Source:
    """The same with a chat template, whose end of a turn is a token to stop at."""
    if template is None:
        return source
    config, notes = source.config, (*source.notes, template.note())
    end = added.get(template.end_of_turn(added) or "")
    if end is not None and end < config.spec.vocab_size and end not in config.eos_token_ids:
        config = replace(config, eos_token_ids=(*config.eos_token_ids, end))
    return replace(source, config=config, chat_template=template, notes=notes)


def from_seed(architecture: str, seed: int) -> Source:
    """Random weights for a preset ("gpt2-medium") or a config.json."""
    presets = families.presets()
    if architecture in presets:
        name, (family, fields) = architecture, presets[architecture]
        config = family.parse(fields)
    elif stat.S_ISREG(_mode(architecture)):
        name = _printable(Path(architecture).stem)
        family, config = families.read_config(Path(architecture))
    else:
        raise ExportError(
            f"no such architecture or file: {architecture!r} (give a config.json or one of"
            f" {', '.join(presets)})"
        )
    weights = RandomWeights(family, config, seed)
    return Source(f"random-init:{name}:seed={seed}", family, config, weights)


def _mode(path: str) -> int:
    """What is there, as stat says it; 0 where nothing is."""
    try:
        return Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return 0
        raise ExportError(f"cannot read {path}: {error.strerror}") from error


def _download(model: str) -> Path:
    try:
        from . import hub
    except ModuleNotFoundError:
        raise
    except Exception as error:  # it reads variables of the environment when it is imported
        raise ExportError(
            f"the Hugging Face hub's client does not start: {error}; check the variables that begin"
            " with HF_"
        ) from error
    return hub.download(model)


def _printable(name: str) -> str:
    """A file's name as config.json can hold it: bytes that are no UTF-8 become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")
