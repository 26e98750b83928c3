"""The training loop: learns, spends exactly its budget, repeats bit for bit, stops on nan."""

import math
from fractions import Fraction

import pytest
import torch
from torch import nn

from howfar.core.batch import IGNORED, Batch
from howfar.core.errors import UsageError
from howfar.core.seeds import Seeds
from howfar.models import build
from howfar.train import Budget, TrainOptions, evaluate, fit
from howfar.train.schedule import rate_at


class Echo:
    """Predict the token itself at every position: learnable at once."""

    def __init__(self, rows=8, length=12, symbols=5, bad_step=None):
        self.shape, self.symbols, self.bad_step = (rows, length), symbols, bad_step

    def batch(self, step):
        generator = Seeds(7).torch(f"echo {step}")
        tokens = torch.randint(1, self.symbols, self.shape, generator=generator)
        lengths = torch.full((self.shape[0],), self.shape[1])
        lengths[0] = 3
        targets = tokens.clone()
        targets[0, 3:] = IGNORED
        return Batch(tokens, lengths, targets)

    def evaluation(self, part):
        for step in range(3):
            yield self.batch(10_000 + step)


def model(seed=0, dropout=0.1):
    return build(
        "gru",
        vocabulary=5,
        outputs=5,
        width=16,
        embedding=8,
        dropout=dropout,
        generator=Seeds(seed).torch("init"),
    )


def options(**changes):
    given = {"budget": Budget(60, "steps"), "learning_rate": 1e-2} | changes
    return TrainOptions(**given)


def test_it_learns():
    net = model()
    before = evaluate(net, Echo().evaluation("test"))
    done = fit(net, Echo(), options())
    after = evaluate(net, Echo().evaluation("test"))
    assert before.mean_nats == pytest.approx(math.log(5), abs=0.1)
    assert after.mean_nats < 0.1
    assert after.correct.mean() > 0.99
    assert done.status == "done"
    assert done.best_nats == pytest.approx(after.mean_nats)  # the same batches, the best weights


def test_budgets_are_spent_in_their_unit():
    tokens_a_step = 7 * 12 + 3
    done = fit(model(), Echo(), options(budget=Budget(20, "steps")))
    assert (done.steps, done.tokens) == (20, 20 * tokens_a_step)
    done = fit(model(), Echo(), options(budget=Budget(1000)))
    assert done.steps == -(-1000 // tokens_a_step)
    done = fit(model(), Echo(), options(budget=Budget(0.05, "seconds")))
    assert done.steps >= 1
    assert done.seconds >= 0.05


def test_the_same_seed_gives_the_same_bits():
    weights = []
    for _ in range(2):
        net = model()
        fit(net, Echo(), options(seed=3))
        weights.append(net.state_dict())
        torch.rand(7)  # the caller's own draws must not matter
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    net = model()
    fit(net, Echo(), options(seed=4))
    assert any(not torch.equal(weights[0][name], value) for name, value in net.state_dict().items())


def test_the_callers_random_state_is_left_alone():
    before = torch.random.get_rng_state()
    fit(model(), Echo(), options())
    assert torch.equal(before, torch.random.get_rng_state())


def test_validation_does_not_change_training():
    ends = []
    for evaluations in (1, 5):
        net = model()
        done = fit(net, Echo(), options(evaluations=evaluations, budget=Budget(40, "steps")))
        ends.append(done.curve[-1])
        assert len(done.curve) == evaluations
    assert ends[0] == ends[1]


class Exploding(nn.Module):
    """Finite for some steps, then not."""

    def __init__(self, good_steps):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(5, 5))
        self.calls, self.good = 0, good_steps

    def forward(self, tokens, lengths):
        self.calls += self.training
        logits = self.weight[tokens]
        return logits * float("nan") if self.calls > self.good and self.training else logits


def test_a_loss_that_is_not_finite_stops_before_the_step():
    net = Exploding(5)
    done = fit(net, Echo(), options(evaluations=30))
    assert done.status == "failed"
    assert "step 5" in done.reason
    assert done.steps == 5
    assert net.weight.isfinite().all()


def test_an_infinite_gradient_stops_before_the_step():
    class Steep(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(5, 5))

        def forward(self, tokens, lengths):
            return (self.weight[tokens] + 1e-30).sqrt() * 1e-20

    net = Steep()
    net.weight.register_hook(lambda gradient: gradient * float("inf"))
    done = fit(net, Echo(), options())
    assert done.status == "failed"
    assert "gradient" in done.reason
    assert net.weight.isfinite().all()


def test_schedule_warms_up_and_cools_down():
    shares = (0, 0.05, 0.1, 0.55, 1.0)

    def rates(schedule):
        return [rate_at(share, schedule=schedule, warmup=0.1, final=0.1) for share in shares]

    assert rates("cosine") == pytest.approx([0.05, 0.5, 1.0, 0.55, 0.1])
    assert rates("linear") == pytest.approx([0.05, 0.5, 1.0, 0.55, 0.1])
    assert rates("constant") == pytest.approx([0.05, 0.5, 1.0, 1.0, 1.0])
    quarter = rate_at(0.325, schedule="linear", warmup=0.1, final=0.1)
    assert quarter == pytest.approx(0.775)


def test_whole_sequence_targets():
    class Labels:
        def batch(self, step):
            tokens = torch.randint(1, 5, (8, 6), generator=Seeds(1).torch(f"{step}"))
            return Batch(tokens, torch.full((8,), 6), (tokens == 2).any(1).long())

        def evaluation(self, part):
            yield self.batch(10**6)
            yield self.batch(10**6 + 1)

    net = build("textcnn", vocabulary=5, outputs=2, width=12, embedding=8, causal=False)
    fit(net, Labels(), options(budget=Budget(150, "steps")))
    answers = evaluate(net, Labels().evaluation("test"))
    assert answers.correct.mean() > 0.9
    assert answers.row.tolist() == list(range(16))


def test_evaluation_matches_a_slow_twin():
    net = model()
    answers = evaluate(net, Echo().evaluation("test"))
    nats, rows, seen = [], [], 0
    net.eval()
    for batch in Echo().evaluation("test"):
        with torch.no_grad():
            logits = net(batch.tokens, batch.lengths).double()
        for row in range(len(batch.tokens)):
            for place in range(int(batch.lengths[row])):
                probability = logits[row, place].softmax(-1)[batch.targets[row, place]]
                nats.append(-math.log(probability))
                rows.append(seen + row)
        seen += len(batch.tokens)
    assert answers.nats.tolist() == pytest.approx(nats, abs=1e-6)
    assert answers.row.tolist() == rows


def test_bad_rates_are_refused():
    for rate in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError):
            options(learning_rate=rate)


class Still:
    """One token a row, so that a run of hundreds of steps takes no time."""

    def batch(self, step):
        return Batch(torch.ones(1, 1, dtype=torch.int64), torch.ones(1, dtype=torch.int64),
                     torch.ones(1, 1, dtype=torch.int64))  # fmt: skip

    def evaluation(self, part):
        yield self.batch(0)


class Constant(nn.Module):
    """The same answer to everything."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(5))

    def forward(self, tokens, lengths):
        return self.logits.expand(*tokens.shape, 5)

    def flops(self, length):
        return 1


@pytest.mark.parametrize(
    ("steps", "evaluations", "unit"),
    [(200, 100, "steps"), (100, 99, "steps"), (300, 7, "tokens"), (49, 49, "steps"),
     (3, 10, "steps"), (330, 110, "flops")],
)  # fmt: skip
def test_validations_stand_where_the_budget_is_cut_into_equal_parts(steps, evaluations, unit):
    amount = 3 * steps if unit == "flops" else steps
    plan = options(budget=Budget(amount, unit), evaluations=evaluations)
    done = fit(Constant(), Still(), plan)
    due = {math.ceil(Fraction(steps * k, evaluations)) for k in range(1, evaluations + 1)}
    assert [point.step for point in done.points] == sorted(due)


def test_patience_counts_each_validation_once():
    plan = options(budget=Budget(200, "steps"), evaluations=100, patience=35, learning_rate=1e-30)
    done = fit(Constant(), Still(), plan)
    # The first is the best; 28 and 29 of 100 were once two at the same share.
    assert (done.best_step, done.steps) == (2, 72)
