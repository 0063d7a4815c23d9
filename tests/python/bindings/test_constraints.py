"""Texts that have to be something: by the library's constraints, and by one of Python's."""

from __future__ import annotations

import gc
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from programs import runner

import kvcache

SEED = int(os.environ.get("KVCACHE_TEST_SEED", "1"))
VOCABULARY, STOP = 97, 96
PROMPT = [3, 1, 2]
program = runner("kvcache")


class OneOf(kvcache.Constraint):
    """What one_of() makes of sequences of tokens, by its definition."""

    def __init__(self, choices: list[list[int]], vocab_size: int = VOCABULARY):
        self.vocab_size = vocab_size
        self.choices = choices
        self.accepted: list[int] = []

    def next(self) -> set[int]:
        length = len(self.accepted)
        begun = (choice for choice in self.choices if choice[:length] == self.accepted)
        return {choice[length] for choice in begun if len(choice) > length}

    def allow_next(self, mask: kvcache.TokenMask) -> None:
        for token in self.next():
            mask.allow(token)

    def may_end(self) -> bool:
        return self.accepted in self.choices

    def accept(self, token: int) -> bool:
        allowed = token in self.next()
        if allowed:
            self.accepted.append(token)
        return allowed

    def rollback(self, tokens: int) -> None:
        del self.accepted[len(self.accepted) - tokens :]

    def fork(self) -> OneOf:
        other = type(self)(self.choices, self.vocab_size)
        other.accepted = list(self.accepted)
        return other


def random_moves(chance: random.Random) -> list[list[int]]:
    """Sequences of tokens, some of which begin others."""
    moves: list[list[int]] = []
    for _ in range(chance.randint(1, 12)):
        begun = chance.choice(moves) if moves and chance.random() < 0.5 else []
        begun = begun[: chance.randint(1, len(begun))] if begun else []
        moves.append(begun + [chance.randrange(STOP) for _ in range(chance.randint(1, 6))])
    return moves


def options(chance: random.Random) -> dict[str, Any]:
    sampling = kvcache.SamplingOptions(
        seed=chance.randrange(10**6), temperature=chance.choice([0, 1, 2])
    )
    return {"max_new_tokens": 20, "sampling": sampling, "stop_tokens": [STOP]}


def fields(text: kvcache.Generated) -> tuple[object, ...]:
    return text.tokens, text.finish_reason, text.meets_constraint


def allowed(constraint: kvcache.Constraint) -> list[int]:
    mask = kvcache.TokenMask(constraint.vocab_size)
    constraint.allow_next(mask)
    return mask.tokens()


def test_a_text_is_one_of_the_moves_whoever_says_so(model: kvcache.Model) -> None:
    """One of the library's and one of Python's give the same texts: alone, several, guessed."""
    chance = random.Random(SEED)
    for _ in range(25):
        moves, how = random_moves(chance), options(chance)
        found = []
        for constraint in (kvcache.one_of(moves, VOCABULARY), OneOf(moves)):
            how["constraint"] = constraint
            sequence = model.new_sequence()
            texts = kvcache.generate_samples(sequence, PROMPT, 3, **how)
            sequence.reset()
            alone = kvcache.generate(sequence, PROMPT, **how).result()
            guesses = kvcache.DraftModel(model)
            sequence.reset()
            guessed = kvcache.generate(sequence, PROMPT, drafter=guesses, **how).result()
            assert fields(alone) == fields(texts[0]) == fields(guessed), SEED
            for text in texts:
                tokens = [token for token in text.tokens if token != STOP]
                assert tokens in moves and text.meets_constraint, (SEED, moves)
                assert text.finish_reason in ("stop_token", "complete")
            assert not constraint.may_end()  # it stays as it is
            beams = kvcache.beam_search(
                model.new_sequence(), PROMPT, beams=3, **{k: how[k] for k in how if k != "sampling"}
            )
            found.append(([fields(text) for text in texts], [beam.tokens for beam in beams]))
        assert found[0] == found[1], (SEED, moves)


def test_states_forks_rollbacks_and_trees_are_the_same() -> None:
    chance = random.Random(SEED)
    for _ in range(50):
        moves = random_moves(chance)
        pair = [kvcache.one_of(moves, VOCABULARY), OneOf(moves)]
        accepted = 0
        for _ in range(30):
            states = [(allowed(each), each.may_end()) for each in pair]
            assert states[0] == states[1], (SEED, moves)
            if not states[0][0] or chance.random() < 0.3:
                back = chance.randint(0, accepted)
                accepted -= back
                for each in pair:
                    each.rollback(back)
            else:
                token = chance.choice(states[0][0])
                accepted += 1
                assert [each.accept(token) for each in pair] == [True, True]
            if chance.random() < 0.2:
                pair = [each.fork() for each in pair]
            tree = (list(chance.choice(moves)), [])
            tree[1].extend(range(-1, len(tree[0]) - 1))
            masks = [[mask.tokens() for mask in kvcache.tree_masks(each, *tree)] for each in pair]
            parts = [kvcache.allowed_part(each, *tree) for each in pair]
            assert masks[0] == masks[1] and parts[0] == parts[1], (SEED, moves, tree)
            assert isinstance(pair[0], kvcache.Constraint)


def test_texts_to_choose_from_and_grammars_are_those_of_the_program(
    model_dir: Path, model: kvcache.Model, letters: str, tmp_path: Path
) -> None:
    (tmp_path / "tokenizer.json").write_text(letters)
    shutil.copytree(model_dir, tmp_path, dirs_exist_ok=True)
    tokenizer = kvcache.Tokenizer.load(tmp_path)
    tokens = kvcache.TokenBytes(tokenizer, VOCABULARY, [STOP])
    assert tokens.of(0) == b"!" and tokens.of(STOP) == b"" and tokens.vocab_size == VOCABULARY
    texts = ["yes", "no", "yesterday", "nought", "a"]
    for seed in range(5):
        generated = kvcache.generate(
            model.new_sequence(),
            PROMPT,
            max_new_tokens=12,
            sampling=kvcache.SamplingOptions(seed=seed),
            tokenizer=tokenizer,
            constraint=kvcache.one_of(texts, tokens),
        ).result()
        assert generated.text in texts and generated.meets_constraint
        prompt = ",".join(map(str, PROMPT))
        finished = program(
            *("generate", tmp_path, "--ids", prompt, "--max-new-tokens", 12, "--seed", seed),
            *(word for text in texts for word in ("--choice", ",".join(map(str, ids(text))))),
        )
        assert finished.returncode == 0, finished.stderr
        assert re.findall(r"\d+", finished.stdout) == list(map(str, generated.tokens))
    from_anywhere = kvcache.TokenBytes([b"", b"a", b"bc", "é".encode()])
    assert allowed(kvcache.one_of(["abc", "é"], from_anywhere)) == [1, 3]


def ids(text: str) -> list[int]:
    return [ord(letter) - 33 for letter in text]


@pytest.fixture(scope="module")
def compiler() -> kvcache.GrammarCompiler:
    tokens = kvcache.TokenBytes([bytes([33 + i]) for i in range(VOCABULARY)])
    try:
        return kvcache.GrammarCompiler(tokens)
    except kvcache.Error as error:
        assert error.code == "grammar_unavailable"
        pytest.skip(f"grammars need xgrammar: {error}")


def test_grammars(model: kvcache.Model, compiler: kvcache.GrammarCompiler, fails) -> None:
    schema = '{"type": "string", "enum": ["a", "bc"]}'
    for constraint, expected in (
        (compiler.regex("[0-9]{4}-[0-9]{2}"), r"\d{4}-\d\d"),
        (compiler.json_schema(schema), '"a"|"bc"'),
        (compiler.json_schema(schema, any_whitespace=True), '"a"|"bc"'),
    ):
        texts = kvcache.generate_samples(
            model.new_sequence(), PROMPT, 8, max_new_tokens=9, constraint=constraint
        )
        for text in texts:
            assert text.meets_constraint and text.finish_reason == "complete"
            assert re.fullmatch(expected, "".join(chr(33 + token) for token in text.tokens))
    fails("grammar_invalid", compiler.json_schema, "{")
    fails("grammar_invalid", compiler.regex, "(?=a)")


def test_grammars_say_what_they_lack(tmp_path: Path, fails) -> None:
    tokens = kvcache.TokenBytes([b"a"])
    fails("grammar_unavailable", kvcache.GrammarCompiler, tokens, directory=tmp_path)
    with pytest.raises(TypeError):
        kvcache.GrammarCompiler(tokens, directory=3)  # type: ignore[arg-type]


def test_a_sampler_draws_what_is_allowed(fails) -> None:
    chance = np.random.default_rng(SEED)
    sampler = kvcache.Sampler(kvcache.SamplingOptions(seed=3))
    for _ in range(20):
        logits = chance.normal(size=70).astype(np.float32)
        chosen = chance.choice(70, size=5, replace=False)
        mask = kvcache.TokenMask(70)
        for token in chosen:
            mask.allow(int(token))
        found = dict(sampler.distribution(logits, allowed=mask))
        weights = np.exp(logits[chosen].astype(np.float64))
        expected = dict(zip(map(int, chosen), weights / weights.sum(), strict=True))
        assert found == pytest.approx(expected, abs=1e-11), SEED
        drawn = {sampler.sample(logits, allowed=mask, position=i) for i in range(30)}
        assert drawn <= set(expected)
    fails("no_token_allowed", sampler.sample, logits, allowed=kvcache.TokenMask(70))
    fails("invalid_argument", sampler.sample, logits, allowed=kvcache.TokenMask(71))


def test_a_mask_is_a_set_and_its_words(fails) -> None:
    mask = kvcache.TokenMask(70)
    mask.words[:] = 0xFFFFFFFF
    assert mask.count() == 70 and mask.tokens(2) == [0, 1] and mask.words.shape == (3,)
    mask.forbid_all()
    mask.allow(64)
    assert mask.allows(64) and not mask.allows(70) and mask.words.tolist() == [0, 0, 1]
    mask.forbid(64)
    assert repr(mask) == "TokenMask(0 of 70 tokens)"
    fails("token_out_of_range", mask.allow, 70)
    words = mask.words
    del mask
    gc.collect()
    assert words.sum() == 0  # it keeps the mask alive


class Raising(OneOf):
    """Raises, or returns nonsense, in one of its methods."""

    wrong: tuple[str, Any] = ("", None)

    def __getattribute__(self, name: str) -> Any:
        which, result = type(self).wrong
        if name != which:
            return super().__getattribute__(name)

        def call(*_: object) -> Any:
            if isinstance(result, type):
                raise result("mine")
            return result

        return call


@pytest.mark.parametrize("method", ["allow_next", "may_end", "accept", "fork"])
@pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt])
def test_what_a_constraint_raises_comes_out(
    sequence: kvcache.Sequence, method: str, raised: type[BaseException], fails
) -> None:
    constraint = type("One", (Raising,), {"wrong": (method, raised)})([[5, 6, 7]])
    sequence.extend([1])
    how: dict[str, Any] = {"max_new_tokens": 3, "constraint": constraint}
    for call in (
        lambda: kvcache.generate(sequence, [2], **how).result(),
        lambda: (
            next(kvcache.generate(sequence, [2], **how))
            and list(kvcache.generate(sequence.fork(), [2], **how))
        ),
        lambda: kvcache.generate_samples(sequence, [2], 2, **how),
        lambda: kvcache.beam_search(sequence, [2], beams=2, **how),
        lambda: kvcache.generate(sequence, [2], drafter=kvcache.PromptLookup(), **how).result(),
    ):
        with pytest.raises(raised, match="mine"):
            call()
        assert sequence.tokens.tolist() == [1]
    if method != "fork":  # which is called before there is a generation
        generation = kvcache.generate(sequence, [2], **how)
        with pytest.raises(raised):
            list(generation)
        for call in (generation.result, lambda: next(generation)):
            assert "raised; begin another" in str(fails("run_failed", call))


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (("may_end", None), "may_end() of a constraint, "),
        (("accept", None), "returned None, must be True or False"),
        (("fork", 3), "has no attribute 'vocab_size'"),
    ],
)
def test_what_a_constraint_forgets_is_told(
    sequence: kvcache.Sequence, wrong: tuple[str, Any], expected: str
) -> None:
    constraint = type("One", (Raising,), {"wrong": wrong})([[5, 6, 7]])
    with pytest.raises((TypeError, AttributeError)) as raised:
        kvcache.generate(sequence, [2], max_new_tokens=3, constraint=constraint).result()
    assert expected in str(raised.value)
    assert sequence.length == 0


def test_wrong_input_is_told(sequence: kvcache.Sequence, fails) -> None:
    def generate(constraint: object) -> object:
        return kvcache.generate(
            sequence,
            [2],
            max_new_tokens=3,
            constraint=constraint,  # type: ignore[arg-type]
        ).result()

    with pytest.raises(TypeError, match=r"must be a kvcache\.Constraint or None; int has no allow"):
        generate(3)
    with pytest.raises(TypeError):
        kvcache.tree_masks(None, [], [])  # type: ignore[arg-type]
    itself = OneOf([[1]])
    itself.fork = lambda: itself  # type: ignore[method-assign]
    with pytest.raises(TypeError, match="returned the object itself, must be another one"):
        generate(itself)
    unsized = OneOf([[1]], "many")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"vocab_size of a constraint, .*OneOf, must be a wh"):
        generate(unsized)
    for constraint in (OneOf([[1]], 3), kvcache.one_of([[1]], 3)):
        assert "of a vocabulary of 3" in str(fails("invalid_argument", generate, constraint))
    assert "allows no token" in str(fails("no_token_allowed", generate, OneOf([])))
    made = kvcache.one_of([[1]], 3)
    fails("invalid_argument", made.rollback, 1)
    fails("invalid_argument", made.allow_next, kvcache.TokenMask(4))
    fails("token_out_of_range", kvcache.one_of, [[3]], 3)
    fails("invalid_argument", kvcache.one_of, [], 3)
    fails("invalid_argument", kvcache.one_of, ["x"], kvcache.TokenBytes([b"a"]))
    fails("invalid_argument", kvcache.tree_masks, made, [1, 1], [-1, 1])
    fails("token_out_of_range", kvcache.TokenBytes([b"a"]).of, 1)
    with pytest.raises(TypeError):
        OneOf.__mro__[1]()  # the interface itself
    assert sequence.length == 0
