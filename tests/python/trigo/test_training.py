"""train.py: what the network computes, that it learns, what it writes, and how it goes on."""

from __future__ import annotations

import json
import random
import re
import time
from pathlib import Path

import made_up_searches
import numpy as np
import pytest
from plain_ort import PlainModel

torch = pytest.importorskip("torch", reason="torch is not installed")

import train  # noqa: E402
import trigo_network  # noqa: E402
import trigo_text  # noqa: E402
from trigo_order import Order  # noqa: E402

from kvcache_export import trigo  # noqa: E402

SEED = 13
SMALL = ["--layers", "2", "--heads", "2", "--hidden", "16", "--positions", "160"]
SMALL += ["--value-hidden", "12", "--value-bottleneck", "6", "--device", "cpu", "--batch", "8"]
SIZES = trigo_network.Sizes(2, 2, 16, 160, 12, 6)


@pytest.fixture(scope="module")
def games(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of two shapes, so that batches have games of different lengths."""
    choice = random.Random(SEED)
    boards = [(3, 3, 1), (2, 2, 2)]
    found = [made_up_searches.made_up_game(choice, boards[i % 2]) for i in range(42)]
    return made_up_searches.write(tmp_path_factory.mktemp("games") / "games.jsonl", found)


def network(seed: int = 0) -> trigo_network.TrigoNetwork:
    """With weights large enough to matter."""
    torch.manual_seed(seed)
    found = trigo_network.TrigoNetwork(SIZES).eval()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return found


def test_all_games_come_once_before_one_comes_again_with_those_of_like_lengths():
    choice = random.Random(SEED)
    lengths = np.array([choice.randint(2, 60) for _ in range(203)])
    order = Order(lengths, 8, [SEED])
    rounds = [[order[25 * number + part] for part in range(25)] for number in range(2)]
    for parts in rounds:
        assert {len(part) for part in parts} == {8}
        assert len(set(np.concatenate(parts).tolist())) == 200
        assert np.mean([np.ptp(lengths[part]) for part in parts]) < 6  # in any order: about 45
    assert not np.array_equal(np.concatenate(rounds[0]), np.concatenate(rounds[1]))
    again = Order(lengths, 8, [SEED])
    np.testing.assert_array_equal(again[30], rounds[1][5])  # from any step on
    assert sorted(Order(lengths[:5], 8, [SEED])[3]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("stored", ["F32", "F16"])
def test_a_checkpoint_is_read_back_and_exported(tmp_path: Path, stored: str):
    """The exported model computes what torch does of the same checkpoint."""
    of = network(3)
    trigo_network.save(of, tmp_path / "checkpoint", stored)
    again = trigo_network.load(tmp_path / "checkpoint").eval()
    for name, tensor in of.state_dict().items():
        tolerance = 0 if stored == "F32" else 1e-3
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=tolerance, atol=tolerance)
    arguments = ["--model", str(tmp_path / "checkpoint"), "--output-dir", str(tmp_path / "model")]
    assert trigo.main(arguments) == 0
    text = trigo_text.tokens("[Board 3x3]\n\n1. 00 aa\n2. ")
    ids = [trigo_text.START, *text, trigo_text.VALUE]
    with torch.no_grad():
        logits, values = again.plain(torch.tensor([ids]))
    found, (found_values, *_) = PlainModel(tmp_path / "model").run(np.array([ids]))
    np.testing.assert_allclose(found, logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(found_values[..., 0], values.numpy(), atol=1e-5)
    assert np.ptp(found_values) > 0.01
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (1, 2)
    assert config["spec"]["value_head"]["inner_sizes"] == [12, 6]


def test_hugging_face_computes_the_same(tmp_path: Path):
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    of = network(5)
    config = {
        name: value
        for name, value in SIZES.config().items()
        if name not in ("value_head", "architectures", "model_type")
    }
    hugging_face = transformers.GPT2LMHeadModel(transformers.GPT2Config(**config)).eval()
    tensors = {
        name.removeprefix("model."): tensor
        for name, tensor in of.state_dict().items()
        if name.startswith("model.")
    }
    missing, unexpected = hugging_face.load_state_dict(tensors, strict=False)
    assert unexpected == []
    assert set(missing) <= {"lm_head.weight"}
    ids = torch.tensor([[1, 7, 3, 100, 90]])
    with torch.no_grad():
        torch.testing.assert_close(of.plain(ids)[0], hugging_face(ids).logits, atol=1e-5, rtol=1e-5)


def curve(directory: Path) -> list[dict]:
    return [json.loads(line) for line in (directory / "curve.jsonl").read_text().splitlines()]


def test_it_learns(games: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    out = tmp_path / "out"
    arguments = ["--data", games, "--out", out, "--steps", "60", "--rate", "0.01", *SMALL]
    assert train.main([*map(str, arguments), "--measure-every", "20"]) == 0
    lines = curve(out)
    assert [line["step"] for line in lines] == [0, 20, 40, 60]
    # Moves of two or three characters of 128, taught: from nats of log 128 each to few.
    first, last = (lines[at]["held_back"]["3x3x1"] for at in (0, -1))
    assert first["policy"] > 8
    assert last["policy"] < 5
    for name in ("policy", "value", "stones", "owners", "atari"):
        assert lines[-1][name] < lines[1][name], name
    assert (out / "model.safetensors").stat().st_size < 50_000
    told = capsys.readouterr().out
    assert "(2, 2, 2): 20 games to learn from, 1 to measure on" in told
    assert "(3, 3, 1): 20 games to learn from, 1 to measure on" in told


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_the_same_seed_gives_the_same_and_an_interruption_changes_nothing(
    games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str
):
    def run(out: str, *more: object) -> bytes:
        arguments = ["--data", games, "--out", tmp_path / out, "--steps", "9", *SMALL, *more]
        arguments += ["--measure-every", "3", "--optimizer", optimizer]
        assert train.main([str(each) for each in arguments]) == 0
        return (tmp_path / out / "model.safetensors").read_bytes()

    whole = run("whole", "--seed", 4)
    assert run("again", "--seed", 4) == whole
    assert run("workers", "--seed", 4, "--workers", 1) == whole
    assert run("other", "--seed", 5) != whole

    import trigo_training

    learn, calls = trigo_training.Training._learn, []

    def interrupted(self):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return learn(self)

    monkeypatch.setattr(trigo_training.Training, "_learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("cut", "--seed", 4, "--resume")
    monkeypatch.setattr(trigo_training.Training, "_learn", learn)
    assert run("cut", "--seed", 4, "--resume") == whole
    assert [line["step"] for line in curve(tmp_path / "cut")] == [0, 3, 6, 9]


def test_the_rate_falls_with_steps_or_with_time(games: Path, tmp_path: Path):
    import trigo_training

    arguments = ["--data", str(games), "--out", str(tmp_path), *SMALL, "--steps", "4000"]
    arguments += ["--rate-end", "0.1", "--seconds", "50"]
    training = trigo_training.Training(train.parser().parse_args(arguments))

    def rate(step: int, seconds: float) -> float:
        training.step, training.began = step, time.monotonic() - seconds
        return training._rate()

    assert rate(0, 0) < 0.04  # up from little
    assert rate(trigo_training.WARMUP_STEPS, 0.1) > 0.98
    assert rate(2000, 0.1) == pytest.approx(rate(2000, 20), abs=1e-3)
    assert rate(400, 49.99) == pytest.approx(0.1, abs=1e-3)
    assert rate(3999, 1) == pytest.approx(0.1, abs=1e-3)


def test_time_ends_it(games: Path, tmp_path: Path):
    arguments = ["--data", games, "--out", tmp_path, "--steps", 10**9, "--seconds", 0.3, *SMALL]
    assert train.main([str(each) for each in arguments]) == 0
    assert 0 < curve(tmp_path)[-1]["step"] < 10**6
    assert (tmp_path / "model.safetensors").exists()


def test_beginning_from_a_model(games: Path, tmp_path: Path):
    trigo_network.save(network(8), tmp_path / "before", "F32")
    arguments = ["--data", games, "--out", tmp_path / "out", "--init", tmp_path / "before"]
    arguments += ["--steps", "2", "--rate", "1e-9", "--device", "cpu", "--store", "float32"]
    assert train.main([str(each) for each in arguments]) == 0
    after = trigo_network.load(tmp_path / "out").state_dict()
    for name, tensor in network(8).state_dict().items():
        torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--steps", "0"], "--steps must be at least 1"),
        (["--batch", "-1"], "--batch must be at least 1"),
        (["--layers", "0"], "--layers must be at least 1"),
        (["--outcome-share", "1.5"], "--outcome-share must be between 0 and 1"),
        (["--outcome-share", "nan"], "--outcome-share must be between 0 and 1"),
        (["--rate-end", "-0.1"], "--rate-end must be between 0 and 1"),
        (["--seconds", "-1"], "--seconds must not be negative"),
        (["--rate", "0"], "--rate must be positive"),
        (["--seed", "-1"], "--seed and --workers must not be negative"),
        (["--heads", "3"], "hidden 16 is not a multiple of heads 3"),
        (["--positions", "50"], "a game of 12 moves needs up to "),
        (["--init", "nowhere"], "--init nowhere is no model of train.py"),
        (["--data", "nowhere"], "cannot read nowhere"),
        (["--rate", "1e30", "--steps", "400"], "take a smaller --rate than 1e+30"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    games: Path, tmp_path: Path, capsys: pytest.CaptureFixture, more: list[str], message: str
):
    arguments = ["--data", str(games), "--out", str(tmp_path / "out"), *SMALL, *more]
    assert train.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error


def test_a_torch_without_muon(games: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.delattr(torch.optim, "Muon")
    arguments = ["--data", str(games), "--out", str(tmp_path), "--steps", "1", *SMALL]
    assert train.main(arguments) == 2
    assert "has no Muon, 2.9 has; give --optimizer adam" in capsys.readouterr().err
    assert train.main([*arguments, "--optimizer", "adam"]) == 0


def test_resuming_with_other_arguments(games: Path, tmp_path: Path, capsys):
    arguments = ["--data", str(games), "--out", str(tmp_path), "--steps", "2", *SMALL]
    assert train.main(arguments) == 0
    assert train.main([*arguments, "--resume", "--rate", "0.5"]) == 2
    assert "--resume goes on with the same arguments, but --rate has changed" in (
        capsys.readouterr().err
    )
    assert train.main([*arguments, "--init", str(tmp_path), "--hidden", "24"]) == 2
    assert f"--hidden is 24, but 16 in {tmp_path}" in capsys.readouterr().err


def test_help_says_what_is_written(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as end:
        train.main(["--help"])
    assert end.value.code == 0
    text = re.sub(r"\s+", " ", capsys.readouterr().out)
    for part in (
        "--data",
        "--resume",
        "curve.jsonl",
        "training.pt",
        "(1 + ln |d|) / (1 + ln points)",
    ):
        assert part in text
