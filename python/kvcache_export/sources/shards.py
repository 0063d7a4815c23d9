"""Which file of a checkpoint's directory holds which tensor."""

from pathlib import Path

from .. import fields, json_file
from ..errors import ExportError
from ..json_file import shown
from .safetensors_file import SafetensorsFile
from .tensor_names import MERGE

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
ADAPTER_FILE = "adapter_config.json"


def check_no_adapter(directory: Path) -> None:
    """Raises ExportError where transformers would load an adapter, beside a model or alone."""
    if (directory / ADAPTER_FILE).exists():
        raise ExportError(f"{directory} holds an adapter ({ADAPTER_FILE}); {MERGE}")


def has_safetensors(directory: Path) -> bool:
    return any((directory / name).exists() for name in (SINGLE_FILE, INDEX_FILE))


def locate(directory: Path) -> dict[str, SafetensorsFile]:
    """The file of every tensor, by the tensor's stored name."""
    check_no_adapter(directory)
    if (directory / SINGLE_FILE).exists():
        file = SafetensorsFile(directory / SINGLE_FILE)
        return dict.fromkeys(file, file)
    if (directory / INDEX_FILE).exists():
        return _locate_in_shards(directory, shard_of_each(directory / INDEX_FILE))
    if (directory / "pytorch_model.bin").exists():
        raise ExportError(
            f"{directory} has pytorch_model.bin only; convert it to safetensors with transformers:"
            " from_pretrained(...) and save_pretrained(...)"
        )
    raise ExportError(f"no {SINGLE_FILE} in {directory}")


def shard_of_each(index: Path) -> dict[str, str]:
    """The name of the file that holds each tensor, as an index says; all are beside the index."""
    try:
        shards = json_file.read_object(index).get("weight_map")
    except ExportError as error:
        raise ExportError(f"{index} is not a safetensors index: {error}") from error
    if not isinstance(shards, dict) or not shards:
        raise ExportError(f"{index} is not a safetensors index: it has no weight_map")
    for key, shard in shards.items():
        if not fields.is_file_name(shard):
            raise ExportError(
                f"{index} is not a safetensors index: weight_map[{shown(key)}] must be the name of"
                f" a file beside it, not {shown(shard)}"
            )
    return shards


def _locate_in_shards(directory: Path, shards: dict[str, str]) -> dict[str, SafetensorsFile]:
    files = {shard: SafetensorsFile(directory / shard) for shard in sorted(set(shards.values()))}
    for shard, file in files.items():
        for key in file:
            if key not in shards:
                raise ExportError(
                    f"{directory / shard} holds tensor {key!r}, which {INDEX_FILE} does not name;"
                    " complete the index, or download the checkpoint again"
                )
    located = {}
    for key, shard in shards.items():
        if key not in set(files[shard]):
            raise ExportError(
                f"{directory / INDEX_FILE} says that tensor {key!r} is in {shard}, which lacks it;"
                " download the checkpoint again"
            )
        located[key] = files[shard]
    return located
