"""What a ListOps expression is worth: evaluators that see all of it or a few levels; its files.

Idea      ids: 0 padding, 1 .. 10 the digits, then [MIN [MAX [MED [SM and the closing bracket.
          MED is the median rounded down, SM the sum modulo 10
Levels    the outermost operator is level 0, its children level 1. An evaluator that sees t levels
          knows the digits of levels 1 .. t and the operators above t; in place of an operator at
          level t it puts that operator's most frequent value
Source    Nangia & Bowman 2018, https://arxiv.org/abs/1804.06028; the settings of Tay et al. 2020
          (Long Range Arena), https://arxiv.org/abs/2011.04006
"""

import os
from collections.abc import Iterator, Sequence

import numpy as np

from howfar.core.errors import DataError, shown
from howfar.data.decode import lines
from howfar.data.faults import Fault, error
from howfar.data.source import opened
from howfar.tasks.streams import Integers

MIN, MAX, MED, SM, CLOSE = 11, 12, 13, 14, 15
SYMBOLS = ("_", *(str(digit) for digit in range(10)), "[MIN", "[MAX", "[MED", "[SM", "]")
USUAL = {MIN: 0, MAX: 9, MED: 4, SM: 6}  # the most frequent value under each operator

_IDS = {symbol: number for number, symbol in enumerate(SYMBOLS) if number}
_LINE = 1 << 20


def evaluate(tokens: Sequence[int]) -> int:
    """The value of an expression.

    Args:
        tokens: ids of one whole expression, without padding.

    Raises:
        DataError: E-LISTOPS where it is not exactly one expression.
    """
    waiting: list[tuple[int, list[int]]] = []
    values: list[int] = []  # those of the innermost open operator
    for place, token in enumerate(tokens):
        if 1 <= token <= 10:
            values.append(token - 1)
        elif token == CLOSE:
            if not waiting or not values:
                raise _broken(place, "a bracket closes nothing")
            operator, outer = waiting.pop()
            outer.append(apply(operator, values))
            values = outer
        elif MIN <= token <= SM:
            waiting.append((token, values))
            values = []
        else:
            raise _broken(place, f"{token} is no symbol")
    if waiting or len(values) != 1:
        raise _broken(len(tokens), "it is not one whole expression")
    return values[0]


def apply(operator: int, values: list[int]) -> int:
    """One operator on one or more digits."""
    if operator == MIN:
        return min(values)
    if operator == MAX:
        return max(values)
    if operator == SM:
        return sum(values) % 10
    ordered, num = sorted(values), len(values)
    return (ordered[(num - 1) // 2] + ordered[num // 2]) // 2


def seen(tokens_L: Integers, levels: int) -> int:
    """The value as far as `levels` levels below the outermost operator tell."""
    opens_L = (tokens_L >= MIN) & (tokens_L <= SM)
    closes_L = tokens_L == CLOSE
    # A closing bracket has the level of its operator.
    level_L = np.cumsum(opens_L) - np.cumsum(closes_L) - opens_L
    kept_L = (level_L < levels) | ((level_L == levels) & ~closes_L)
    usual = dict(USUAL)
    cut = [
        usual[token] + 1 if level == levels and token in usual else token
        for token, level in zip(tokens_L[kept_L].tolist(), level_L[kept_L].tolist(), strict=True)
    ]
    return evaluate(cut)


def depth_needed(tokens: Sequence[int]) -> int:
    """Levels that must be seen before nothing deeper can change the value: 0 for a lone digit.

    Unseen sub-trees may have every value; bounds are carried upwards, and an SM with any unsettled
    argument counts as able to take every value, so that this is never too small, and too large
    only where an SM of few possible values stands under another operator.
    """
    ids_L = np.asarray(tokens)
    deepest = int(np.max(np.cumsum(ids_L >= MIN) - 2 * np.cumsum(ids_L == CLOSE)))
    for levels in range(deepest):
        low, high = _bounds(ids_L, levels)
        if low == high:
            return levels
    return deepest


def _bounds(tokens_L: Integers, levels: int) -> tuple[int, int]:
    """Least and greatest value the expression may have, by what `levels` levels tell."""
    waiting: list[tuple[int, list[tuple[int, int]]]] = []
    values: list[tuple[int, int]] = []
    for token in tokens_L.tolist():
        if token == CLOSE:
            operator, outer = waiting.pop()
            if len(waiting) < levels:
                outer.append(_span(operator, values))
            elif len(waiting) == levels:
                outer.append((0, 9))
            values = outer
        elif token >= MIN:
            waiting.append((token, values))
            values = []
        else:
            values.append((token - 1, token - 1))
    return values[0]


def _span(operator: int, values: list[tuple[int, int]]) -> tuple[int, int]:
    low, high = [low for low, _ in values], [high for _, high in values]
    if operator == SM and low != high:
        return 0, 9
    return apply(operator, low), apply(operator, high)


def parsed(expression: str) -> list[int]:
    """Ids of an expression as text; round parentheses, which add nothing, are left out.

    Raises:
        DataError: E-LISTOPS for an unknown symbol.
    """
    words = expression.replace("(", " ").replace(")", " ").split()
    for place, word in enumerate(words):
        if word not in _IDS:
            raise _broken(place, f"{shown(word)} is no symbol")
    return [_IDS[word] for word in words]


def read_nangia(path: str | os.PathLike[str]) -> Iterator[tuple[list[int], int]]:
    """Expressions and labels of a file of Nangia & Bowman: label, tab, expression; gzip or not.

    Raises:
        DataError: E-LISTOPS with the row, for a line that is not of this kind.
        UsageError, EnvironmentFault: where the file cannot be opened.
    """
    with opened(path) as source:
        for number, line in enumerate(lines(source, None, _LINE), start=1):
            label, tab, expression = line.strip().partition("\t")
            try:
                if not tab or len(label) != 1 or label not in "0123456789":
                    raise _broken(0, "a line is a digit, a tab and an expression")
                tokens = parsed(expression)
            except DataError as broken:
                fault = Fault(
                    number, "E-LISTOPS", "No ListOps row", broken.message.rstrip("."), "listops"
                )
                raise error(fault, os.fspath(path)) from broken
            yield tokens, int(label)


def _broken(place: int, why: str) -> DataError:
    message = f"Not a ListOps expression at token {place + 1}: {why}."
    return DataError("E-LISTOPS", message, "such as [MAX 1 [MIN 4 7 ] 0 ]")
