"""A checkpoint from the Hugging Face hub: config.json, safetensors and the tokenizer's files.

Files already in the hub's cache are used without a connection; HF_HUB_OFFLINE is respected.
"""

import contextlib
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
from huggingface_hub.utils import get_session, logging

from .. import chat, special_tokens, tokenizer_files
from ..errors import ExportError
from ..json_file import shown
from .shards import ADAPTER_FILE, INDEX_FILE, SINGLE_FILE, shard_of_each

ADVICE = "give a checkpoint directory (--model DIR) or random weights (--random-init gpt2)"

CHECK = (
    "or check the connection and the variables for proxies, certificates and the hub (HTTPS_PROXY,"
    " ALL_PROXY, SSL_CERT_FILE, HF_ENDPOINT, HF_HOME)"
)

# The hub's client retries for 20 s before it gives up; asking once beforehand takes at most this.
CONNECT_TIMEOUT_S = 5


def download(model: str) -> Path:
    """The local directory with the model's config.json and safetensors, or ExportError."""
    logging.set_verbosity_error()  # advice of the client's to log in, for instance
    try:
        return _download(model, cached_only=not _reachable())
    except HFValidationError as error:
        raise ExportError(f"no such directory or model id: {shown(model)}; {ADVICE}") from error
    except LocalEntryNotFoundError as error:
        raise ExportError(
            f"cannot reach the Hugging Face hub, and {model!r} is not in its local cache; {ADVICE}"
        ) from error
    except GatedRepoError as error:
        raise ExportError(
            f"access to {model!r} on the Hugging Face hub is restricted; ask for it there and set"
            f" HF_TOKEN, or {ADVICE}"
        ) from error
    except RepositoryNotFoundError as error:
        raise ExportError(f"no model {model!r} on the Hugging Face hub; {ADVICE}") from error
    except EntryNotFoundError as error:
        raise ExportError(
            f"{model!r} on the Hugging Face hub lacks config.json or safetensors; convert it with"
            " transformers: from_pretrained(...) and save_pretrained(...)"
        ) from error
    except (ExportError, MemoryError):
        raise
    except Exception as error:
        # The client and what it is built on raise many kinds: of a proxy's scheme, a certificate's
        # file, an endpoint that is no address, a cache that cannot be written.
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ExportError(f"cannot download {model!r}: {reason}; {ADVICE}, {CHECK}") from error


def _download(model: str, *, cached_only: bool) -> Path:
    config = _fetch(model, "config.json", cached_only)
    _fetch_weights(model, cached_only)
    with contextlib.suppress(EntryNotFoundError):
        _fetch(model, ADAPTER_FILE, cached_only)  # transformers would add it to the model
    for file in (
        special_tokens.GENERATION,
        *tokenizer_files.NAMES,
        chat.SOURCE,
        *tokenizer_files.OTHERS,
    ):
        with contextlib.suppress(EntryNotFoundError, LocalEntryNotFoundError):
            _fetch(model, file, cached_only)  # a model without a tokenizer is one, too
    return config.parent


def _fetch_weights(model: str, cached_only: bool) -> None:
    try:
        _fetch(model, SINGLE_FILE, cached_only)
    except EntryNotFoundError:
        for shard in sorted(set(shard_of_each(_fetch(model, INDEX_FILE, cached_only)).values())):
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
