"""train.py: what the network computes, that it learns, what it writes, and how it goes on."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import made_up_searches
import numpy as np
import pytest
from plain_ort import PlainModel

torch = pytest.importorskip("torch", reason="torch is not installed")

import train  # noqa: E402
import trigo_batches  # noqa: E402
import trigo_epochs  # noqa: E402
import trigo_network  # noqa: E402
import trigo_text  # noqa: E402
from trigo_games import RecordedGame, Search, lay_out, read_games  # noqa: E402

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
    found = [made_up_searches.made_up_game(choice, boards[i % 2]) for i in range(24)]
    return made_up_searches.write(tmp_path_factory.mktemp("games") / "games.jsonl", found)


def network(seed: int = 0) -> trigo_network.TrigoNetwork:
    """With weights large enough to matter."""
    torch.manual_seed(seed)
    found = trigo_network.TrigoNetwork(SIZES).eval()
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return found


def log_probabilities(of, tokens: list[int]) -> torch.Tensor:
    return of.plain(torch.tensor([tokens]))[0][0].log_softmax(-1)


def test_losses_are_those_of_moves_one_by_one(games: Path):
    """Cross-entropy of the visits with each move's product of characters, computed alone."""
    of, found = network(), read_games([games])[:5]
    images = [trigo_text.symmetries(game.board)[-1] for game in found]
    laid_out = [lay_out(game, image, 0.5) for game, image in zip(found, images, strict=True)]
    with torch.no_grad():
        losses = trigo_batches.losses(of, trigo_batches.together(laid_out, torch.device("cpu")))
        entropies, errors = [], []
        for game, image in zip(found, images, strict=True):
            for search in game.searches:
                moves = [image[move] for move in game.moves[: search.ply]]
                text = trigo_text.tokens(trigo_text.game_text(game.board, moves))
                record = [trigo_text.START, *text]
                number = trigo_text.tokens(trigo_text.number(search.ply))
                total = 0.0
                for move, visits in zip(search.moves, search.visits, strict=True):
                    name = trigo_text.tokens(image[move])
                    rows = log_probabilities(of, [*record, *number, *name])
                    at = len(record) + len(number) - 1
                    product = sum(rows[at + i, token] for i, token in enumerate(name))
                    total -= visits / sum(search.visits) * product
                entropies.append(total)
                value = of.plain(torch.tensor([[*record, trigo_text.VALUE]]))[1][0, -1]
                errors.append((value - (0.5 * game.outcome + 0.5 * search.value)) ** 2)
    assert float(losses.policy) == pytest.approx(float(sum(entropies)) / len(entropies), rel=1e-5)
    assert float(losses.value) == pytest.approx(float(sum(errors)) / len(errors), rel=1e-5)


def test_the_loss_of_points_is_that_of_each_point_alone(games: Path):
    """Boards of 9 and of 8 points in one batch: what the smaller one lacks counts nothing."""
    of, found = network(), read_games([games])[:4]
    laid_out = [lay_out(game, trigo_text.symmetries(game.board)[0], 0.5) for game in found]
    torch.manual_seed(1)
    head = torch.nn.Linear(SIZES.hidden, 2 * 10 * 3)  # of a training that has 10 points somewhere
    with torch.no_grad():
        batch = trigo_batches.together(laid_out, torch.device("cpu"))
        loss = trigo_batches.losses(of, batch, head).points
        expected = []
        for game, one in zip(found, laid_out, strict=True):
            alone = trigo_batches.together([one], torch.device("cpu"))
            states = of.model(alone.tokens, alone.positions, alone.seen)[0]
            for row, kinds in zip(*one.points, strict=True):
                guesses = head(states[int(row)]).view(2, 10, 3).log_softmax(-1)
                halves = kinds.reshape(2, -1)
                assert halves.shape[1] == len(trigo_text.point_names(game.board))
                expected += [
                    -float(guesses[half, point, int(halves[half, point])])
                    for half in range(2)
                    for point in range(halves.shape[1])
                ]
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-5)


def test_an_epoch_has_every_game_once_and_its_batches_games_of_like_lengths():
    choice = random.Random(SEED)
    lines = [made_up_searches.made_up_game(choice, (3, 3, 1), choice.randint(2, 12))
             for _ in range(203)]  # fmt: skip
    found = [_recorded(line) for line in lines]
    epochs = trigo_epochs.Epochs(found, 8, 0.5, SEED, 2)
    assert len(epochs) == 2 * 26
    orders = []
    for number in range(2):
        epoch = trigo_epochs.Epoch(found, 8, 0.5, [SEED, number])
        orders.append(np.concatenate(epoch.parts).tolist())
        assert sorted(orders[-1]) == list(range(203))
        assert [len(part) for part in epoch.parts] == [8] * 25 + [3]
        spreads = [np.ptp([len(found[at].moves) for at in part]) for part in epoch.parts]
        assert np.mean(spreads) < 3  # 8 games in any order: about 8
        for part in (0, 25):
            packed = epochs[number * 26 + part]
            np.testing.assert_array_equal(packed.tokens, epoch[part].tokens)
    assert orders[0] != orders[1]


def _recorded(line: dict) -> RecordedGame:
    searches = [
        Search(each["ply"], tuple(each["moves"]), tuple(each["visits"]), each["value"])
        for each in line["searches"]
    ]
    return RecordedGame(tuple(line["board"]), tuple(line["moves"]), line["score"], tuple(searches))


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
    arguments = ["--data", games, "--out", out, "--epochs", "12", "--rate", "0.01", *SMALL]
    assert train.main([*map(str, arguments), "--log-every", "6"]) == 0
    epochs = [line for line in curve(out) if "epoch" in line]
    steps = [line for line in curve(out) if "epoch" not in line]
    assert [line["epoch"] for line in epochs] == list(range(13))
    assert [line["step"] for line in steps] == [6, 12, 18, 24, 30, 36]
    # Moves of two or three characters of 128, taught: from nats of log 128 each to few.
    assert epochs[0]["held_back_policy"] > 8
    assert epochs[-1]["policy"] < 0.5 * epochs[1]["policy"]
    assert epochs[-1]["held_back_policy"] < 5
    assert epochs[-1]["value"] < epochs[1]["value"]
    assert (out / "model.safetensors").stat().st_size < 50_000
    assert "23 games to learn from, 1 to measure on" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_and_an_interruption_changes_nothing(
    games: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def run(out: str, *more: object) -> bytes:
        arguments = ["--data", games, "--out", tmp_path / out, "--epochs", "3", *SMALL, *more]
        assert train.main([str(each) for each in arguments]) == 0
        return (tmp_path / out / "model.safetensors").read_bytes()

    whole = run("whole", "--seed", 4)
    assert run("again", "--seed", 4) == whole
    assert run("workers", "--seed", 4, "--workers", 1) == whole
    assert run("other", "--seed", 5) != whole

    import trigo_training

    learn, calls = trigo_training.Training._learn, []

    def interrupted(self, epoch):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return learn(self, epoch)

    monkeypatch.setattr(trigo_training.Training, "_learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("cut", "--seed", 4, "--resume")
    monkeypatch.setattr(trigo_training.Training, "_learn", learn)
    assert run("cut", "--seed", 4, "--resume") == whole
    assert [line["epoch"] for line in curve(tmp_path / "cut")] == [0, 1, 2, 3]


def test_beginning_from_a_model(games: Path, tmp_path: Path):
    trigo_network.save(network(8), tmp_path / "before", "F32")
    arguments = ["--data", games, "--out", tmp_path / "out", "--init", tmp_path / "before"]
    arguments += ["--epochs", "1", "--rate", "1e-9", "--device", "cpu", "--store", "float32"]
    assert train.main([str(each) for each in arguments]) == 0
    after = trigo_network.load(tmp_path / "out").state_dict()
    for name, tensor in network(8).state_dict().items():
        torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--batch", "-1"], "--batch must be at least 1"),
        (["--layers", "0"], "--layers must be at least 1"),
        (["--outcome-share", "1.5"], "--outcome-share must be between 0 and 1"),
        (["--outcome-share", "nan"], "--outcome-share must be between 0 and 1"),
        (["--rate", "0"], "--rate must be positive"),
        (["--seed", "-1"], "--seed and --workers must not be negative"),
        (["--heads", "3"], "hidden 16 is not a multiple of heads 3"),
        (["--positions", "50"], "a game of 12 moves needs up to "),
        (["--init", "nowhere"], "--init nowhere is no model of train.py"),
        (["--data", "nowhere"], "cannot read nowhere"),
        (["--rate", "1e30", "--epochs", "3"], "take a smaller --rate than 1e+30"),
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


def test_resuming_with_other_arguments(games: Path, tmp_path: Path, capsys):
    arguments = ["--data", str(games), "--out", str(tmp_path), "--epochs", "1", *SMALL]
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
