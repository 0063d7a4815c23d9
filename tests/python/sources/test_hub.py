"""The Hugging Face hub: what is fetched, and one line for each way in which that fails."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import checkpoints
import httpx2
import pytest
from exporter_processes import ExporterProcesses
from huggingface_hub import errors

from kvcache_export.errors import ExportError
from kvcache_export.sources import hub
from kvcache_export.sources.shards import locate

RESPONSE = httpx2.Response(404, request=httpx2.Request("GET", "https://hub.example"))


@pytest.fixture
def fake_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A directory that stands for a model on the hub; `fetched` below it for the local cache."""
    remote, cache = tmp_path / "remote", tmp_path / "fetched"
    cache.mkdir()

    def download(model: str, file: str, local_files_only: bool) -> str:
        assert not local_files_only
        if not (remote / file).exists():
            raise errors.RemoteEntryNotFoundError("404", response=RESPONSE)
        return shutil.copy(remote / file, cache)

    monkeypatch.setattr(hub, "_reachable", lambda: True)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    return checkpoints.write_random(remote)


def test_fetches_config_and_weights_and_nothing_else(fake_hub: Path):
    (fake_hub / "pytorch_model.bin").write_bytes(b"much")
    directory = hub.download("some/model")
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", "model.safetensors"]


def test_fetches_shards(fake_hub: Path):
    (fake_hub / "model.safetensors").rename(fake_hub / "part.safetensors")
    (fake_hub / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "part.safetensors", "b": "part.safetensors"}}'
    )
    assert (hub.download("some/model") / "part.safetensors").exists()


def test_an_adapter_beside_the_weights_is_noticed(fake_hub: Path):
    (fake_hub / "adapter_config.json").write_text("{}")
    with pytest.raises(ExportError, match=r"holds an adapter .*merge_and_unload"):
        locate(hub.download("some/model"))


def test_a_shard_outside_the_model_is_not_asked_for(fake_hub: Path):
    (fake_hub / "model.safetensors").unlink()
    index = fake_hub / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "../config.json"}}')
    with pytest.raises(ExportError, match="must be the name of a file beside it"):
        hub.download("some/model")


def test_no_safetensors(fake_hub: Path):
    (fake_hub / "model.safetensors").unlink()
    with pytest.raises(ExportError, match=r"lacks config\.json or safetensors; convert it"):
        hub.download("some/model")


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (
            errors.RepositoryNotFoundError("401", response=RESPONSE),
            "no model 'some/model' on the Hugging Face hub; give a checkpoint directory",
        ),
        (errors.GatedRepoError("403", response=RESPONSE), "access to 'some/model' .* restricted"),
        (
            errors.HfHubHTTPError("500 Oops\nmore", response=RESPONSE),
            "'some/model': 500 Oops; give",
        ),
        (httpx2.ReadTimeout("timed out"), "cannot download 'some/model': timed out; give"),
        (OSError(28, "No space left on device"), "No space left on device"),
    ],
)
def test_failed_download(monkeypatch: pytest.MonkeyPatch, failure: Exception, message: str):
    def download(*_: object, **__: object) -> str:
        raise failure

    monkeypatch.setattr(hub, "_reachable", lambda: True)
    monkeypatch.setattr(hub, "hf_hub_download", download)
    with pytest.raises(ExportError, match=message):
        hub.download("some/model")


@pytest.mark.parametrize(
    ("model", "surroundings", "message"),
    [
        (
            "gpt2",
            {"HF_HUB_OFFLINE": "1"},
            "cannot reach the Hugging Face hub, and 'gpt2' is not in",
        ),
        # Nothing listens on port 9 of this machine: the connection is refused at once.
        ("gpt2", {"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot reach the Hugging Face hub"),
        ("a/b/c", {"HF_HUB_OFFLINE": "1"}, "no such directory or model id: 'a/b/c'"),
        ("a" * 300, {"HF_HUB_OFFLINE": "1"}, "no such directory or model id: 'aaaa"),
        ("gpt2", {"ALL_PROXY": "socks5://127.0.0.1:9"}, "cannot download 'gpt2': "),
        ("gpt2", {"HTTPS_PROXY": "foo://127.0.0.1:9"}, "cannot download 'gpt2': "),
        ("gpt2", {"SSL_CERT_FILE": "/nowhere"}, "cannot download 'gpt2': "),
        ("gpt2", {"SSL_CERT_DIR": "/dev/null"}, "cannot "),
        (
            "gpt2",
            {"HF_ENDPOINT": "https://mirror:abc"},
            "the Hugging Face hub's client does not start",
        ),
        ("gpt2", {"HF_ENDPOINT": "nonsense"}, "cannot "),
        ("gpt2", {"HF_HUB_ETAG_TIMEOUT": "soon"}, "the Hugging Face hub's client does not start"),
    ],
)
def test_without_connection(
    tmp_path: Path,
    exporter_processes: ExporterProcesses,
    model: str,
    surroundings: dict,
    message: str,
):
    """The real hub library, with an empty cache; quick, and with what to do instead."""
    output = tmp_path / "models"
    start = time.monotonic()
    result = exporter_processes.run(
        *("--model", model, "--output-dir", output),
        environment={"HF_HOME": str(tmp_path / "cache"), **surroundings},
    )
    assert time.monotonic() - start < 30
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {message}")
    assert result.stderr.count("\n") == 1
    assert ("--model DIR" in result.stderr) == ("client does not start" not in message)
    assert not output.exists()
