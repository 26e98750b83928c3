"""Memory capacity: delay lines, reservoirs, the bound, and streams that hold nothing."""

import numpy as np
import pytest

from howfar.core.errors import DataError, UsageError
from howfar.core.seeds import Seeds
from howfar.tasks.capacity import memory_capacity


@pytest.fixture(scope="module")
def inputs():
    return Seeds(3).numpy("inputs").uniform(-1, 1, 4000)


def delay_line(inputs, cells):
    """Row t: u_t, u_{t-1}, .. u_{t-cells+1}."""
    padded = np.concatenate([np.zeros(cells - 1), inputs])
    return np.stack([padded[cells - 1 - k : len(padded) - k] for k in range(cells)], axis=1)


def reservoir(inputs, size, radius):
    """x_t = radius * Q x_{t-1} + v u_t with an orthogonal Q."""
    random = Seeds(4).numpy("reservoir")
    q, _ = np.linalg.qr(random.standard_normal((size, size)))
    v, x = random.standard_normal(size), np.zeros(size)
    states = []
    for u in inputs:
        x = radius * q @ x + v * u
        states.append(x)
    return np.array(states)


@pytest.mark.parametrize("cells", [1, 2, 7, 20])
def test_a_delay_line_has_its_number_of_cells(inputs, cells):
    found = memory_capacity(delay_line(inputs, cells), inputs, longest=40)
    assert found.total == pytest.approx(cells, abs=1e-9)
    assert found.each[:cells] == pytest.approx([1.0] * cells)
    assert set(found.each[cells:]) == {0.0}
    assert found.lags == tuple(range(41))
    assert found.states == cells


def test_mixing_the_cells_changes_nothing(inputs):
    mixed = delay_line(inputs, 7) @ Seeds(1).numpy("mix").standard_normal((7, 7)) + 3
    assert memory_capacity(mixed, inputs, longest=20).total == pytest.approx(7, abs=1e-6)


def test_an_orthogonal_reservoir_comes_near_its_size(inputs):
    found = memory_capacity(reservoir(inputs, 10, 0.9)[200:], inputs[200:], longest=120)
    assert 9.7 < found.total < 10.05
    assert found.each[0] > found.each[15] > found.each[60]


def test_a_sum_of_two_lags_shares_one(inputs):
    """x_t = u_t + u_{t-1}: each lag has a squared correlation of one half."""
    states = delay_line(inputs, 2).sum(1, keepdims=True)
    found = memory_capacity(states, inputs, longest=5)
    assert found.each[:2] == pytest.approx([0.5, 0.5], abs=0.05)
    assert found.each[2:] == (0.0,) * 4


@pytest.mark.parametrize("size", [1, 3, 8])
def test_no_states_pass_their_number(inputs, size):
    """Saturating states too: the bound is about any stream."""
    states = np.tanh(3 * reservoir(inputs, size, 0.8))[100:]
    found = memory_capacity(states, inputs[100:], longest=60)
    assert 0 < found.total < size + 0.05


def test_against_a_slow_twin(inputs):
    """One lag at a time, with its own least squares and numpy's correlation."""
    states = np.tanh(reservoir(inputs, 4, 0.7))
    found = memory_capacity(states, inputs, longest=6, held_out=0.25)
    scored = int(0.25 * (4000 - 6))
    fitted = 4000 - 6 - scored
    for k in range(7):
        past = inputs[6 - k : 4000 - k]
        design = np.column_stack([np.ones(3994), states[6:]])
        weights = np.linalg.lstsq(design[:fitted], past[:fitted])[0]
        said = design[fitted:] @ weights
        want = np.corrcoef(said, past[fitted:])[0, 1] ** 2
        assert found.each[k] == pytest.approx(want if want * scored >= 19.5114 else 0.0, abs=1e-9)
    assert found.held_out == scored


def test_nothing_is_held(inputs):
    random = Seeds(9).numpy("noise").standard_normal((4000, 5))
    assert memory_capacity(random, inputs, longest=100).total == 0.0
    assert memory_capacity(np.ones((4000, 3)), inputs, longest=10).total == 0.0


def test_what_does_not_fit_is_refused(inputs):
    states = delay_line(inputs, 3)
    with pytest.raises(UsageError, match="longest=-1"):
        memory_capacity(states, inputs, longest=-1)
    with pytest.raises(UsageError, match=r"held_out=1"):
        memory_capacity(states, inputs, longest=1, held_out=1)
    with pytest.raises(UsageError, match=r"\(T, D\)"):
        memory_capacity(states[:, 0], inputs, longest=1)
    with pytest.raises(UsageError, match=r"\(T, D\)"):
        memory_capacity(states[1:], inputs, longest=1)
    with pytest.raises(DataError, match="too few"):
        memory_capacity(states[:20], inputs[:20], longest=15)
    with pytest.raises(DataError, match="too few"):
        memory_capacity(states[:0], inputs[:0], longest=3)
    with pytest.raises(DataError, match="not finite"):
        memory_capacity(np.where(states > 0.9, np.inf, states), inputs, longest=1)
    with pytest.raises(DataError, match="never changes"):
        memory_capacity(states, np.ones(4000), longest=1)
