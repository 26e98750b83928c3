"""exp, sigmoid and tanh of the compiled kernels: as near as float32 goes, in a vector loop."""

import math

import numpy as np
import pytest

pytest.importorskip("numba")

from numba import njit

from howfar.models.kernels import compiled_math

EXACT = {
    "exp": np.exp,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}
# units in the last place of float32
CLOSE = {"exp": 1.5, "sigmoid": 3.0, "tanh": 2.0}


def over(name):
    function = getattr(compiled_math, name)

    @njit(fastmath={"contract"}, error_model="numpy")
    def run(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    def call(x):
        y = np.empty_like(x)
        run(x, y)
        return y

    call.compiled = run
    return call


@pytest.fixture(scope="module", params=EXACT)
def named(request):
    return request.param, over(request.param)


def test_is_near_in_float32_everywhere(named):
    name, run = named
    small = np.logspace(-37, 1, 50_000)
    near = np.linspace(-2, 2, 400_001)
    x = np.concatenate([np.linspace(-86, 88, 400_001), near, small, -small]).astype(np.float32)
    want = EXACT[name](x.astype(np.float64))
    units = np.abs(run(x) - want) / np.spacing(np.abs(want).astype(np.float32))
    assert units.max() < CLOSE[name], x[units.argmax()]


def test_is_exact_in_float64(named):
    name, run = named
    x = np.linspace(-30, 30, 10_001)
    np.testing.assert_allclose(run(x), EXACT[name](x), rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ends(named, dtype):
    name, run = named
    low, high, zero, nan = run(np.array([-math.inf, math.inf, 0, math.nan], dtype))
    assert math.isnan(nan)
    assert zero == {"exp": 1, "sigmoid": 0.5, "tanh": 0}[name]
    assert low == pytest.approx({"exp": 0, "sigmoid": 0, "tanh": -1}[name], abs=2e-38)
    assert high == (1 if name != "exp" else high)
    assert name != "exp" or high > 1e38


def test_is_one_loop_without_calls(named):
    name, run = named
    run(np.zeros(4, np.float32))
    code = next(x for kinds, x in run.compiled.inspect_llvm().items() if "float32" in str(kinds[0]))
    assert f"{name}f(" not in code
    assert "@llvm.exp" not in code
    # several numbers at a time
    assert any(f"fmul contract <{lanes} x float>" in code for lanes in (4, 8, 16))
