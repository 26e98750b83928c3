"""How a recurrent state depends on earlier ones: Jacobian products and Lyapunov exponents."""

from howfar.measure.jacobian.hidden import HiddenJacobian, HiddenOptions, hidden_jacobian
from howfar.measure.jacobian.lyapunov import LyapunovOptions, LyapunovSpectrum, lyapunov
from howfar.measure.jacobian.step import Step, recurrent_step, streaming_step

__all__ = [
    "HiddenJacobian",
    "HiddenOptions",
    "LyapunovOptions",
    "LyapunovSpectrum",
    "Step",
    "hidden_jacobian",
    "lyapunov",
    "recurrent_step",
    "streaming_step",
]
