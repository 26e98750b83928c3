"""Every kind of check on a small case whose answer is known."""

import pytest
import torch

from howfar.tasks import task
from howfar.verify.checks import CHECKS
from howfar.verify.checks.commands import pairs
from howfar.verify.checks.words import _order, _shuffled


def quiet(line):
    assert line


def test_the_edge_of_a_tcn():
    shapes = [{"label": "a", "kernel": 3, "depth": 2}, {"label": "b", "kernel": 5, "depth": 1}]
    found = CHECKS["edge"]({"family": "tcn", "shapes": shapes}, quiet)
    assert {label: seen.value for label, seen in found.items()} == {"a": 13, "b": 9}


def test_a_network_without_an_edge():
    with pytest.raises(ValueError, match="no edge"):
        CHECKS["edge"]({"family": "gru", "shapes": [{"label": "a"}]}, quiet)


def test_gradients_fade_by_the_spectral_radius():
    settings = {"radii": [0.9, 1.05], "width": 8, "lags": [100, 200], "draws": 8}
    found = CHECKS["vanishing"](settings, quiet)
    assert found["radius 0.9"].value == pytest.approx(0.9, rel=0.01)
    assert found["radius 1.05"].value == pytest.approx(1.05, rel=0.01)


def test_a_ladder_is_scored_on_the_tasks_own_items():
    settings = {"task": "recall", "items": 1200, "task_settings": {"length": 32}}
    found = CHECKS["ladder"](settings, quiet)
    made = task("recall", length=32)
    batch = made.batch(range(1200), split="test")
    for name, rule in made.shortcuts.items():
        want = float((rule(batch) == batch.targets[:, -1]).double().mean())
        got = found[f"shortcut: {name}"]
        assert got.value == pytest.approx(want)
        assert got.low < want < got.high
    assert found["chance"].value == 1 / 8


def test_the_adding_problems_constants():
    settings = {"task": "adding", "items": 20_000, "task_settings": {"length": 50}}
    found = CHECKS["ladder"](settings, quiet)
    assert found["shortcut: the constant 1"].value == pytest.approx(1 / 6, abs=0.005)
    assert found["shortcut: knows one addend"].value == pytest.approx(1 / 12, abs=0.003)


def test_a_solved_task_and_its_unseen_lengths():
    run = {"family": "gru", "width": 16, "depth": 1, "embedding": 8, "rate": 1e-2}
    settings = {
        "task": "recall",
        "items": 128,
        "seeds": 2,
        "lengths": [12, 24],
        "task_settings": {"length": 8, "cues": 2, "noise": 2},
        "run": {"gru": run | {"budget": "100k tokens"}, "none": run | {"budget": "300 tokens"}},
    }
    found = CHECKS["solve"](settings, quiet)
    assert found["gru"].value > 0.98
    assert found["gru, least"].value <= found["gru"].value
    assert found["gru at unseen lengths"].value > 0.9
    assert found["none"].value < 0.8
    assert found["chance"].value == 0.5
    settings["run"].pop("gru")  # the same numbers every time, whatever else is run
    assert CHECKS["solve"](settings, quiet)["none"] == found["none"]


def test_numbers_are_scored_by_their_squared_error():
    run = {"family": "gru", "width": 8, "depth": 1, "embedding": 8, "rate": 1e-8}
    settings = {
        "task": "adding",
        "items": 64,
        "seeds": 1,
        "task_settings": {"length": 6},
        "run": {"gru": run | {"budget": "200 tokens"}},
    }
    found = CHECKS["solve"](settings, quiet)
    assert found["gru"].value > 0.5  # untrained, it answers about 0 where 1 is the mean


def test_commands_are_all_there():
    made = dict(pairs())
    assert len(made) == 20_910
    assert sum(len(actions) <= 22 for actions in made.values()) == 16_990
    assert made["jump around left after walk twice"] == (
        *("I_WALK", "I_WALK"),
        *("I_TURN_LEFT", "I_JUMP") * 4,
    )
    assert made["turn opposite right thrice and look"] == (*("I_TURN_RIGHT",) * 6, "I_LOOK")


def test_the_order_of_words():
    """A model that needs the order of the last three tokens and the bag of all others."""
    rows = torch.randint(1, 5, (300, 41), generator=torch.Generator().manual_seed(0))
    rows[:, -1] = rows[:, -4]

    def model(tokens):
        logits = torch.zeros(*tokens.shape, 5)
        logits[:, -1] = 4.0 * torch.nn.functional.one_hot(tokens[:, -3], 5)
        return logits

    found, nats = _order(model, rows, 0.01)
    assert (found.value, found.low, found.high) == (3, 3, 3)
    assert nats == pytest.approx(0.0706, abs=1e-3)  # ln(1 + 4 exp(-4))
    mixed = _shuffled(rows, 5)
    assert torch.equal(mixed[:, -6:], rows[:, -6:])
    assert torch.equal(mixed.sort(1).values, rows.sort(1).values)
    assert not torch.equal(mixed, rows)


def test_words_on_a_small_text(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat and the dog ran to the cat again . " * 400)
    settings = {
        "text": str(text),
        "families": ["gru"],
        "window": 12,
        "rows": 30,
        "tolerance": 0.05,
        "max_vocabulary": 100,
        "width": 16,
        "embedding": 8,
        "depth": 1,
        "learning_rate": 1e-2,
        "budget": "300k tokens",
    }
    found = CHECKS["words"](settings, quiet)
    assert set(found) == {"gru swap", "gru context", "gru order", "gru perplexity"}
    assert found["gru perplexity"].value < 2
    assert all(1 <= found[f"gru {what}"].value <= 12 for what in ("swap", "order"))
