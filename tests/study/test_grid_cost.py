"""What a study will cost: worked out by hand, and as the models that are trained count."""

import dataclasses

import pytest

from howfar.models import MODELS
from howfar.study.grid import Axes, Settings, Study
from howfar.study.grid_cost import cost
from howfar.study.material import Material
from howfar.study.plan import design
from howfar.tasks import task
from howfar.train import Budget

COPY = Material.of_task(task("copy", data=2, kinds=3, length=8))


def study(data=COPY, budget=Budget(3.0, "steps"), **axes):  # noqa: B008 - it is frozen
    wanted = {"family": ("gru",), "rate": (0.01,), "seed": (3,), "length": (8,)}
    wanted["parameters"] = (1000,)
    settings = Settings(batch=4, embedding=4)
    return Study(
        name="s", axes=Axes(**(wanted | axes)), data=data, budget=budget, settings=settings
    )


ONE = study().cells()[0]


def test_cost_by_hand():
    found = cost(study(seed=(0, 1), length=(8, 12)))
    plan = design("gru", ONE.problem(), ONE.options())
    short, long = (plan.build().flops(length) for length in (8, 12))
    assert found.total.cells == 4
    assert found.total.tokens == 2 * 3 * 4 * (8 + 12)  # seeds, steps, rows
    assert found.total.flops == 2 * 3 * 4 * 3 * (short + long)
    assert found.total == found.families["gru"]


def test_cost_in_other_units():
    each = 3 * design("gru", ONE.problem(), ONE.options()).build().flops(8) / 8
    tokens = cost(study(budget=Budget(1000.0, "tokens"), family=("gru", "lstm")))
    assert tokens.families["gru"].flops == pytest.approx(1000 * each, rel=1e-12)
    assert (tokens.total.tokens, tokens.families["lstm"].tokens) == (2000, 1000)
    flops = cost(study(budget=Budget(1e9, "flops"))).total
    assert (flops.flops, flops.seconds) == (1e9, None)
    assert flops.tokens == pytest.approx(1e9 / each, rel=1e-12)
    seconds = cost(study(budget=Budget(30.0, "seconds"), seed=(0, 1))).total
    assert (seconds.seconds, seconds.tokens, seconds.flops) == (60, None, None)


def test_every_family_is_counted_as_the_model_that_is_trained():
    wide = study(family=tuple(MODELS), parameters=(60_000,))
    wide = dataclasses.replace(wide, settings=Settings(batch=4, embedding=16))
    found = cost(wide).families
    for cell in wide.cells():
        model = design(cell.family, cell.problem(), cell.options()).build()
        assert found[cell.family].flops == pytest.approx(3 * 4 * 3 * model.flops(8), rel=1e-12)


def test_a_table_costs_its_mean_row(tmp_path):
    rows = [f"{'a b ' * (1 + i % 4)}{i},{'xy'[i % 2]}\n" for i in range(80)]
    (tmp_path / "rows.csv").write_text("text,label\n" + "".join(rows))
    data = Material.of_file("table", "rows.csv", tmp_path)
    found = cost(study(data=data, length=(None,)))
    problem = data.problem(None)
    mean = problem.pass_tokens / problem.data.train
    assert found.total.tokens == 3 * 4 * round(mean)
    assert data.problem(4).length == 4
