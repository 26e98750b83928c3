"""A run that is cut goes on with the same bits, wherever it was cut."""

import copy
import json

import pytest
import torch

from howfar.core.batch import IGNORED, Batch
from howfar.core.seeds import Seeds
from howfar.models import build
from howfar.train import Budget, TrainOptions, fit
from howfar.train.processes import World

FAMILIES = ("textcnn", "elman", "lstm", "gru", "transformer", "mamba")


class Kept:
    """Checkpoints in memory; counters go through JSON, as on disk."""

    def __init__(self):
        self.states, self.notes = [], []

    def save(self, state):
        state = copy.deepcopy(state)
        state.counters = json.loads(json.dumps(state.counters))
        self.states.append(state)

    def newest(self):
        return copy.deepcopy(self.states[-1]) if self.states else None


class Stream:
    """Next symbols of a made text; with `carry`, lanes that go on from step to step."""

    def __init__(self, *, slots=1, carry=False, period=5):
        self.slots, self.carry, self.period = slots, carry, period

    def batch(self, number):
        rows = torch.randint(1, 6, (4, 13), generator=Seeds(1).torch(f"rows {number}"))
        goes_on = self.carry and (number // self.slots) % self.period != 0
        lengths = torch.full((4,), 12)
        return Batch(rows[:, :-1], lengths, rows[:, 1:].clone(), goes_on=goes_on)

    def evaluation(self, part):
        for number in range(3):
            yield self.batch((10_000 + number) * self.slots)


def model(family):
    settings = {"vocabulary": 6, "outputs": 6, "width": 16, "embedding": 8, "dropout": 0.2}
    return build(family, generator=Seeds(0).torch("init"), **settings)


def options(**changes):
    given = {"budget": Budget(12, "steps"), "learning_rate": 1e-2, "evaluations": 3}
    return TrainOptions(**(given | changes))


def weights(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def stopping(at):
    calls = iter(range(1, 10_000))
    return lambda: next(calls) >= at


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("carry", [False, True])
def test_cut_anywhere_it_ends_in_the_same_bits(family, carry):
    source, plan = Stream(carry=carry), options(carry=carry)
    whole = model(family)
    want = fit(whole, source, plan)
    for cuts in ([1], [5], [12], [3, 4, 2]):
        kept = Kept()
        for at in cuts:
            net = model(family)
            done = fit(net, source, plan, checkpoints=kept, stop=stopping(at))
            assert done.status == "stopped"
        net = model(family)
        done = fit(net, source, plan, checkpoints=kept)
        assert done.status == "done"
        assert same(weights(net), weights(whole))
        assert done.curve == want.curve
        assert (done.steps, done.tokens, done.flops) == (want.steps, want.tokens, want.flops)


def test_a_finished_run_is_not_trained_again():
    kept, net = Kept(), model("gru")
    want = fit(net, Stream(), options(), checkpoints=kept)
    again = model("gru")
    done = fit(again, Stream(), options(), checkpoints=kept, progress=pytest.fail)
    assert done.steps == want.steps
    assert same(weights(again), weights(net))


def test_checkpoints_come_when_they_are_due():
    kept = Kept()
    fit(model("gru"), Stream(), options(checkpoint_every=5), checkpoints=kept)
    assert [state.step for state in kept.states] == [5, 10, 12]


def test_without_the_state_other_bits_come_out():
    """The check above can fail: a lane that forgets its state ends elsewhere."""
    source, plan, kept = Stream(carry=True), options(carry=True), Kept()
    whole, net = model("gru"), model("gru")
    fit(whole, source, plan)
    fit(model("gru"), source, plan, checkpoints=kept, stop=stopping(4))
    kept.states[-1].carried = {}
    fit(net, source, plan, checkpoints=kept)
    assert not same(weights(net), weights(whole))


def test_dropout_draws_by_the_number_of_the_batch():
    """Evaluations draw nothing, and more of them change no weight but which are kept."""
    nets = [model("gru") for _ in range(2)]
    for net, evaluations in zip(nets, (1, 6), strict=True):
        fit(net, Stream(), options(evaluations=evaluations))
    # the last evaluation is at the end for both, and the loss still falls
    assert same(*map(weights, nets))


def test_slots_are_one_larger_batch():
    """Two slots give the gradient of both batches at once, up to rounding."""

    class Joined(Stream):
        def batch(self, number):
            parts = [Stream.batch(self, 2 * number + slot) for slot in (0, 1)]
            return Batch(
                torch.cat([p.tokens for p in parts]),
                torch.cat([p.lengths for p in parts]),
                torch.cat([p.targets for p in parts]),
            )

    nets = []
    for source, slots in ((Stream(slots=2), 2), (Joined(), 1)):
        settings = {"vocabulary": 6, "outputs": 6, "width": 16, "embedding": 8}
        net = build("gru", generator=Seeds(0).torch("init"), **settings).double()
        fit(net, source, options(slots=slots, budget=Budget(5, "steps"), evaluations=1))
        nets.append(weights(net))
    for name in nets[0]:
        torch.testing.assert_close(nets[0][name], nets[1][name], rtol=1e-5, atol=1e-7)


def test_slots_of_unequal_weight_count_by_target():
    class Uneven(Stream):
        def batch(self, number):
            batch = Stream.batch(self, number)
            if number % 2:
                batch.targets[:, 3:] = IGNORED
            return batch

    net = model("gru")
    done = fit(net, Uneven(slots=2), options(slots=2))
    # 4 rows of 12 targets, and 4 rows of 3
    source = Uneven(slots=2)
    counts = [source.batch(number).num_targets for number in (0, 1)]
    assert counts == [48, 12]
    assert done.status == "done"


def test_a_batch_without_targets_changes_nothing():
    class Blank(Stream):
        def batch(self, number):
            batch = Stream.batch(self, number)
            batch.targets[:] = IGNORED
            return batch

    net = model("gru")
    before = weights(net)
    done = fit(net, Blank(), options(budget=Budget(2, "steps"), weight_decay=0.0, evaluations=9))
    assert done.steps == 2
    assert same(before, weights(net))


class Poisoned(torch.nn.Module):
    """A model whose loss is not finite at its third training step."""

    def __init__(self):
        super().__init__()
        self.inner = model("gru")
        self.calls = 0

    def forward(self, tokens, lengths):
        self.calls += self.training
        logits = self.inner(tokens, lengths)
        return logits * float("nan") if self.calls == 3 and self.training else logits


def test_how_many_steps_may_be_left_out():
    net = Poisoned()
    done = fit(net, Stream(), options())
    assert done.status == "failed"
    assert "step 2" in done.reason
    assert all(torch.isfinite(value).all() for value in net.state_dict().values())
    done = fit(Poisoned(), Stream(), options(skip_nonfinite=1))
    assert (done.status, done.skipped, done.steps) == ("done", 1, 12)


def test_patience_ends_a_run_early():
    class Noise(Stream):
        def evaluation(self, part):
            rows = torch.randint(1, 6, (4, 13), generator=Seeds(2).torch(f"noise {part}"))
            yield Batch(rows[:, :-1], torch.full((4,), 12), rows[:, 1:])

    plan = options(budget=Budget(400, "steps"), evaluations=40, patience=2, learning_rate=3e-2)
    done = fit(model("gru"), Noise(), plan)
    assert done.steps < 400
    assert done.best_step <= done.steps - 20
    kept = Kept()
    fit(model("gru"), Noise(), plan, checkpoints=kept)
    again = fit(model("gru"), Noise(), plan, checkpoints=kept, progress=pytest.fail)
    assert again.steps == done.steps


def test_the_world_of_one_takes_every_slot():
    world = World()
    assert list(world.slots(3)) == [0, 1, 2]
    assert world.total(2.5) == 2.5
    assert list(World(1, 2).slots(4)) == [1, 3]


@pytest.mark.parametrize("earlier", [False, True])
def test_a_cut_adds_no_validation(earlier):
    plan = options(budget=Budget(60, "steps"), evaluations=30)
    want = [point.step for point in fit(model("textcnn"), Stream(), plan).points]
    assert want == list(range(2, 61, 2))
    for at in (34, 35, 36, 58, 60):
        kept = Kept()
        fit(model("textcnn"), Stream(), plan, checkpoints=kept, stop=stopping(at))
        if earlier:  # versions that counted passes wrote down how many
            kept.states[-1].counters["checks"] = at // 2 - 1
        done = fit(model("textcnn"), Stream(), plan, checkpoints=kept)
        assert [point.step for point in done.points] == want
