"""Shapes and kinds that must fit before a loop runs over bare memory.

Idea     compiled loops do not look at borders: a state of other rows than the text would be read,
         and written, past its end
"""

from torch import Tensor

from howfar.core.errors import UsageError


def fits(name: str, given: Tensor, shape: tuple[int, ...], like: Tensor) -> None:
    """Refuse a tensor of another shape than asked, or of another dtype or device than `like`.

    Raises:
        UsageError: E-SHAPE.
    """
    if tuple(given.shape) != shape:
        raise UsageError(
            "E-SHAPE",
            f"{name} has the shape {tuple(given.shape)}; here it must be {shape}.",
            "a state goes on with as many rows, of the same model, as it came from",
        )
    if given.dtype != like.dtype or given.device != like.device:
        raise UsageError(
            "E-SHAPE",
            f"{name} is {given.dtype} on {given.device}, what it meets {like.dtype} on"
            f" {like.device}.",
            "one dtype and one device",
        )
