"""A grid's cells: their order, their names, and that each trains as a comparison would."""

import dataclasses
import hashlib
import json
import time

import pytest
import torch

from howfar.core.errors import DataError, UsageError
from howfar.study import jobs
from howfar.study.grid import Axes, Cell, Measure, Settings, Study
from howfar.study.grid_cost import cost
from howfar.study.material import Material
from howfar.study.plan import CompareOptions, design
from howfar.study.problems import TaskProblem
from howfar.tasks import TASKS, from_texts, task
from howfar.train import Budget

COPY = Material.of_task(task("copy", data=2, kinds=3, length=8))
ONE = Cell(
    family="gru",
    length=8,
    rate=0.01,
    seed=3,
    parameters=1000,
    data=COPY,
    budget=Budget(3.0, "steps"),
    settings=Settings(batch=4, embedding=4),
    measure=Measure(reach=False),
)


def study(data=COPY, budget=ONE.budget, **axes):
    wanted = {"family": ("gru",), "rate": (0.01,), "seed": (3,), "length": (8,)}
    wanted["parameters"] = (1000,)
    return Study(
        name="s",
        axes=Axes(**(wanted | axes)),
        data=data,
        budget=budget,
        settings=ONE.settings,
        measure=ONE.measure,
    )


@pytest.fixture
def play(tmp_path):
    path = tmp_path / "play.txt"
    path.write_text("to be or not to be\n" * 400)
    return path


def test_the_product_of_the_axes_has_the_first_one_slowest():
    cells = study(family=("lstm", "gru"), length=(8, 6, 7), seed=(1, 0)).cells()
    assert [(c.family, c.length, c.seed) for c in cells] == [
        ("lstm", 8, 1),
        ("lstm", 8, 0),
        ("lstm", 6, 1),
        ("lstm", 6, 0),
        ("lstm", 7, 1),
        ("lstm", 7, 0),
        ("gru", 8, 1),
        ("gru", 8, 0),
        ("gru", 6, 1),
        ("gru", 6, 0),
        ("gru", 7, 1),
        ("gru", 7, 0),
    ]
    inner = study(rate=(0.1, 0.2), parameters=(2000, 1000)).cells()
    assert [(c.rate, c.parameters) for c in inner] == [
        (0.1, 2000),
        (0.1, 1000),
        (0.2, 2000),
        (0.2, 1000),
    ]
    assert len({cell.run for cell in (*cells, *inner)}) == 16


def test_a_run_is_named_by_what_is_said_of_it_here():
    said = (
        '{"batch":4,"budget":{"steps":3.0},"cost_lengths":[],'
        '"data":{"kind":"task","name":"copy","settings":{"data":2,"kinds":3,"seed":0},'
        '"sha256":null,"version":1},"device":"cpu","dropout":null,"embedding":4,"family":"gru",'
        '"form":1,"length":8,"parameters":1000,"rate":0.01,"reach":false,"seed":3,'
        '"sequences":256,"threads":1}'
    )
    assert json.loads(said) == json.loads(json.dumps(ONE.identity))
    assert ONE.run == hashlib.sha256(said.encode()).hexdigest()[:20] == "835916b1e467dc3af9f4"
    assert study().cells() == (ONE,)


def changed():
    """ONE with each field, and each field of its parts, changed alone."""
    new = {
        "family": "lstm",
        "length": 9,
        "rate": 0.010000000000000002,
        "seed": 4,
        "parameters": 1001,
        "data": Material.of_task(task("copy", data=2, kinds=4, length=8)),
        "budget": Budget(3.0, "tokens"),
    }
    yield from ((name, dataclasses.replace(ONE, **{name: value})) for name, value in new.items())
    inside = {
        "settings": {
            "batch": 5,
            "embedding": 5,
            "dropout": 0.0,
            "threads": 2,
            "device": "cuda",
        },
        "measure": {"reach": True, "sequences": 2, "cost_lengths": (1,)},
        "budget": {"amount": 4.0},
        "data": {
            "kind": "text",
            "name": "t_maze",
            "settings": (("seed", 1),),
            "version": 2,
            "sha256": "0" * 64,
        },
    }
    for part, values in inside.items():
        for name, value in values.items():
            other = dataclasses.replace(getattr(ONE, part), **{name: value})
            yield f"{part}.{name}", dataclasses.replace(ONE, **{part: other})


def test_any_single_change_gives_another_name():
    cells = dict(changed())
    fields = {field.name for field in dataclasses.fields(Cell)} - {"settings", "measure"}
    for part in ("settings", "measure", "data"):
        kind = type(getattr(ONE, part))
        fields |= {f"{part}.{field.name}" for field in dataclasses.fields(kind)}
    assert fields <= set(cells)
    assert len({ONE.run, *(cell.run for cell in cells.values())}) == 1 + len(cells)


def test_what_is_equal_has_one_name():
    same = dataclasses.replace(ONE, budget=Budget(3, "steps"), rate=0.010)
    assert same.run == ONE.run
    whole = dataclasses.replace(ONE, rate=1)
    assert whole.run == dataclasses.replace(ONE, rate=1.0).run
    one, other = (task("mqar", power=power) for power in (1, 1.0))
    assert Material.of_task(one) == Material.of_task(other)


def test_the_name_and_the_order_of_a_study_decide_nothing():
    first = study(seed=(0, 1, 2))
    renamed = dataclasses.replace(first, name="other")
    turned = study(seed=(2, 0, 1))
    assert [c.run for c in renamed.cells()] == [c.run for c in first.cells()]
    assert first.fingerprint == renamed.fingerprint == turned.fingerprint
    assert first.fingerprint != study(seed=(0, 1)).fingerprint
    assert len(first.fingerprint) == 20


@pytest.mark.parametrize("name", [name for name in TASKS if name != "mnist"])
def test_every_task_has_an_identity(name):
    made = task(name)
    material = Material.of_task(made)
    assert material.task(made.length) == made
    assert json.loads(json.dumps(material.identity)) == material.identity
    assert (material.sha256 is not None) == ("path" in made.settings)


def test_axes_refuse_what_is_no_grid():
    fine = {"family": ("gru",), "rate": (0.1,), "seed": (0,)}
    with pytest.raises(UsageError, match="axis rate is empty"):
        Axes(**(fine | {"rate": ()}))
    with pytest.raises(UsageError, match=r"axis rate holds '0.1' more than once"):
        Axes(**(fine | {"rate": (0.1, 0.2, 1e-1)}))
    assert Axes(**(fine | {"seed": tuple(range(10_000))})).count == 10_000
    with pytest.raises(UsageError, match=r"10,001 cells \(1 family x 1 length x 1 rate x 10,001"):
        Axes(**(fine | {"seed": tuple(range(10_001))}))


def test_ten_thousand_cells_are_planned_within_two_seconds():
    began = time.process_time()
    wide = study(family=("gru", "lstm"), length=(8, 9), seed=tuple(range(2500)))
    assert len({cell.run for cell in wide.cells()}) == 10_000
    assert cost(wide).total.cells == 10_000
    assert time.process_time() - began < 2


def test_a_cell_trains_as_a_comparison_does():
    by_hand = CompareOptions(
        families=("gru",),
        budget=Budget(3, "steps"),
        rates=(0.01,),
        seed=3,
        parameters=1000,
        embedding=4,
        batch=4,
    )
    problem = TaskProblem.of(from_texts("copy", {"data": "2", "kinds": "3"}, length=8))
    results = []
    for run in (jobs.Run(problem, by_hand), jobs.Run(ONE.problem(), ONE.options())):
        plan = design("gru", run.problem, run.options)
        results.append(jobs.train(run, plan, 0.01, 3, (), lambda share, nats: None))
    first, second = results
    assert first.trained.steps == second.trained.steps == 3
    assert first.trained.weights.keys() == second.trained.weights.keys()
    for name, value in first.trained.weights.items():
        assert torch.equal(value, second.trained.weights[name])
    assert problem.score([first.answers], 3) == ONE.problem().score([second.answers], 3)
    other = dataclasses.replace(ONE, seed=4)
    run = jobs.Run(other.problem(), other.options())
    third = jobs.train(run, design("gru", run.problem, run.options), 0.01, 4, (), lambda *_: None)
    assert third.trained.best_nats != first.trained.best_nats


def test_a_text_is_known_by_its_bytes_and_not_by_its_place(play, tmp_path):
    material = Material.of_file("text", "play.txt", tmp_path)
    copy = tmp_path / "elsewhere.txt"
    copy.write_bytes(play.read_bytes())
    cells = [
        dataclasses.replace(ONE, data=data)
        for data in (material, Material.of_file("text", str(copy)))
    ]
    assert cells[0].run == cells[1].run
    problem = cells[0].problem()
    assert (problem.length, problem.data.unit, problem.data.name) == (8, "character", "play")
    copy.write_text("other text\n" * 400)
    assert Material.of_file("text", str(copy)).sha256 != material.sha256
    with pytest.raises(DataError, match="not the file that the study was planned on") as found:
        cells[1].problem()
    assert found.value.code == "E-CHANGED"


def test_a_shipped_set_is_of_its_kind():
    assert Material.of_file("text", "tinyshakespeare").name == "tinyshakespeare"
    with pytest.raises(UsageError, match="is a text, not a table"):
        Material.of_file("table", "tinyshakespeare")
    with pytest.raises(UsageError, match="is a table, not a text"):
        Material.of_file("text", "movie_reviews")
    with pytest.raises(UsageError, match="is an address"):
        Material.of_file("text", "https://example.org/a.txt")
