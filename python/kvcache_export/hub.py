"""A checkpoint from the Hugging Face hub: config.json and safetensors, nothing else.

Files already in the hub's cache are used without a connection; HF_HUB_OFFLINE is respected.
"""

from __future__ import annotations

from pathlib import Path

import httpx2
from huggingface_hub import constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import get_session

from .errors import ExportError
from .weights import INDEX_FILE, SINGLE_FILE, shard_names

ADVICE = "give a checkpoint directory (--model DIR) or random weights (--random-init gpt2)"

# The hub's client retries for 20 s before it gives up; asking once beforehand takes at most this.
CONNECT_TIMEOUT_S = 5


def download(model: str) -> Path:
    """The local directory with the model's config.json and safetensors, or ExportError."""
    cached_only = not _reachable()
    try:
        config = _fetch(model, "config.json", cached_only)
        _fetch_weights(model, cached_only)
    except HFValidationError as error:
        raise ExportError(f"no such directory or model id: {model!r}; {ADVICE}") from error
    except LocalEntryNotFoundError as error:
        raise ExportError(
            f"cannot reach the Hugging Face hub, and {model!r} is not in its local cache; {ADVICE}"
        ) from error
    except GatedRepoError as error:
        raise ExportError(f"access to {model!r} on the Hugging Face hub is restricted") from error
    except RepositoryNotFoundError as error:
        raise ExportError(f"no model {model!r} on the Hugging Face hub; {ADVICE}") from error
    except EntryNotFoundError as error:
        raise ExportError(
            f"{model!r} on the Hugging Face hub lacks config.json or safetensors; convert it with"
            " transformers: from_pretrained(...) and save_pretrained(...)"
        ) from error
    except (httpx2.HTTPError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise ExportError(f"cannot download {model!r}: {reason}; {ADVICE}") from error
    return config.parent


def _fetch_weights(model: str, cached_only: bool) -> None:
    try:
        _fetch(model, SINGLE_FILE, cached_only)
    except EntryNotFoundError:
        for shard in shard_names(_fetch(model, INDEX_FILE, cached_only)):
            _fetch(model, shard, cached_only)


def _fetch(model: str, file: str, cached_only: bool) -> Path:
    return Path(hf_hub_download(model, file, local_files_only=cached_only))


def _reachable() -> bool:
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=CONNECT_TIMEOUT_S)
    except httpx2.HTTPError:
        return False
    return True
