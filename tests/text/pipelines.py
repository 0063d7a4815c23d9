"""Tokenizers of every kind that is supported, with small vocabularies trained by the reference."""

from __future__ import annotations

from collections.abc import Iterator

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
DEEPSEEK = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXT = [
    "Hello world, hello tokens: it's what we've got and they'll see 1234 of 5,678 things.\n",
    "def encode(text):\n    return [vocab[c] for c in text]  # comment\n\n\tif x == 3.14: pass\r\n",
    "Größe straße naïve café Ελλάδα Москва привет мир שלום עולם مرحبا بالعالم नमस्ते दुनिया",
    "東京は日本の首都です。中文也可以。한국어 텍스트 ไทย ภาษา 👩‍👩‍👧‍👦 🏳️‍🌈 ½ ² Ⅷ ٣",
    "the the of of and and in in to to a a is is that that for for      spaces   \n\n\n newlines",
]


def _split(pattern: str, behavior: str = "isolated", *, invert: bool = False) -> object:
    return pre_tokenizers.Split(Regex(pattern), behavior, invert=invert)


def _bytes(*, regex: bool = True, prefix: bool = False) -> object:
    return pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=regex)


def _trained(tokenizer: Tokenizer, *, byte_level: bool, vocab_size: int = 700) -> Tokenizer:
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    special = ["<unk>", "<s>", "</s>"]
    if tokenizer.model.byte_fallback:
        special += [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT * 4, trainer)
    return tokenizer


def _byte_level(pre_tokenizer: object, normalizer: object = None, **model: bool) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    return _trained(tokenizer, byte_level=True)


def _sentencepiece(
    normalizer: object, pre_tokenizer: object, decoder: object, **model: object
) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", **model))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    if decoder is not None:
        tokenizer.decoder = decoder
    trained = _trained(tokenizer, byte_level=False)
    trained.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="$A $B", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    return trained


def _llama2_decoder() -> object:
    return decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )


def _with_added_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """Every flag of an added token."""
    tokenizer.add_tokens(
        [
            AddedToken("[L]", lstrip=True, normalized=False),
            AddedToken("[R]", rstrip=True, normalized=False),
            AddedToken("[LR]", lstrip=True, rstrip=True, normalized=False),
            AddedToken("word", single_word=True, normalized=False),
            AddedToken("é", normalized=True),
            AddedToken("[N]", normalized=True, lstrip=True),
            AddedToken("[NN]", normalized=True),
            AddedToken("  ", normalized=False),
            AddedToken("    ", normalized=False),
        ]
    )
    tokenizer.add_special_tokens([AddedToken("<|end|>"), AddedToken("<|end|>er"), "<|x|>"])
    return tokenizer


def pipelines() -> Iterator[tuple[str, Tokenizer]]:
    """Each by its name."""
    sequence = pre_tokenizers.Sequence
    digits = pre_tokenizers.Digits
    yield "gpt2", _byte_level(_bytes())
    yield "gpt2 with a prefix space", _byte_level(_bytes(prefix=True))
    yield "llama3", _byte_level(sequence([_split(CL100K), _bytes(regex=False)]), ignore_merges=True)
    yield "qwen2", _byte_level(sequence([_split(QWEN2), _bytes(regex=False)]), normalizers.NFC())
    yield "o200k", _byte_level(sequence([_split(O200K), _bytes(regex=False)]))
    yield (
        "deepseek",
        _byte_level(
            sequence(
                [
                    _split(r"\p{N}{1,3}"),
                    _split(r"[一-龥぀-ゟ゠-ヿ]+"),
                    _split(DEEPSEEK),
                    _bytes(regex=False),
                ]
            )
        ),
    )
    yield "smollm", _byte_level(sequence([digits(individual_digits=True), _bytes()]))
    yield "digits together", _byte_level(sequence([digits(individual_digits=False), _bytes()]))
    yield "split behind bytes", _byte_level(sequence([_bytes(), _split(r"[0-9]")]))
    for behavior in (
        "removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous",
    ):  # fmt: skip
        for invert in (False, True):
            name = f"{behavior}{', inverted' if invert else ''}"
            split = _split(r"\s|\p{P}", behavior, invert=invert)
            yield name, _byte_level(sequence([split, _bytes(regex=False)]))
    for form in (normalizers.NFD, normalizers.NFKC, normalizers.NFKD):
        yield form.__name__, _byte_level(_bytes(), form())
    yield "bytes as characters", _byte_level(_split(r"Ġ?\p{L}+"), normalizers.ByteLevel())
    llama2 = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    fallback = {"byte_fallback": True, "fuse_unk": True}
    yield "llama2", _sentencepiece(llama2, None, _llama2_decoder(), **fallback)
    for scheme in ("first", "never", "always"):
        for split in (False, True):
            yield (
                f"metaspace {scheme}{', split' if split else ''}",
                _sentencepiece(
                    None,
                    pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split),
                    decoders.Metaspace(prepend_scheme=scheme, split=split),
                    **fallback,
                ),
            )
    gemma = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    yield (
        "gemma",
        _sentencepiece(
            normalizers.Replace(" ", "▁"),
            pre_tokenizers.Split(" ", "merged_with_previous"),
            gemma,
            **fallback,
        ),
    )
    yield "unknown characters", _sentencepiece(llama2, None, None)
    yield "unknown characters fused", _sentencepiece(llama2, None, None, fuse_unk=True)
    yield "added tokens", _with_added_tokens(_byte_level(_bytes(), normalizers.NFC()))
    yield (
        "added tokens of llama2",
        _with_added_tokens(_sentencepiece(llama2, None, _llama2_decoder(), **fallback)),
    )
