"""Expressions over the whole numbers modulo 5: writing them, reading them, how often they are 0.

Idea      ids 1 .. 5 are the digits 0 .. 4, then + - * ( ) =. Multiplication binds first; a minus
          where a number is awaited is a sign
Law       a digit is even over Z_5, and stays so under + and -. A product of r even digits is 0 with
          probability 1 - (4/5)**r and even over the rest, which is the same as: even with
          probability (4/5)**(r - 1), 0 for sure otherwise. So every expression is 0 for sure with a
          probability a and even with 1 - a, and its most frequent value is 0: a + (1 - a) / 5
Source    the grammar of Deletang et al. 2022, arXiv 2207.02098 (modular arithmetic with brackets)
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache

MODULUS = 5
PLUS, MINUS, TIMES, OPEN, CLOSE, EQUALS = range(MODULUS + 1, MODULUS + 7)
SYMBOLS = ("_", *(str(digit) for digit in range(MODULUS)), "+", "-", "*", "(", ")", "=")


class _Level:
    """One pair of brackets while it is read."""

    def __init__(self) -> None:
        self.total, self.term = 0, 0
        self.waiting = PLUS
        self.awaits, self.sign = True, 1

    def operator(self, token: int) -> None:
        """Take an operator, or a sign where a number is awaited."""
        if self.awaits:
            self.sign = -1
        else:
            self.waiting, self.awaits = token, True

    def number(self, value: int) -> None:
        """Take a number."""
        value, self.sign, self.awaits = value * self.sign, 1, False
        if self.waiting == TIMES:
            self.term = self.term * value % MODULUS
        else:
            self.total += self.term
            self.term = -value if self.waiting == MINUS else value

    def value(self) -> int:
        """What has been read so far comes to this."""
        return (self.total + self.term) % MODULUS


def evaluate(tokens: Iterable[int], levels: int | None = None) -> int:
    """The value of an expression; brackets more than `levels` deep count as 0."""
    stack = [_Level()]
    for token in tokens:
        if 1 <= token <= MODULUS:
            stack[-1].number(token - 1)
        elif token == OPEN:
            stack.append(_Level())
        elif token == CLOSE:
            deep = len(stack) - 1
            value = stack.pop().value()
            stack[-1].number(0 if levels is not None and deep > levels else value)
        elif token in (PLUS, MINUS, TIMES):
            stack[-1].operator(token)
    return stack[0].value()


def fold(tokens: Iterable[int]) -> int:
    """Left to right, as if there were no brackets and multiplication did not bind first."""
    value, waiting = 0, PLUS
    for token in tokens:
        if 1 <= token <= MODULUS:
            digit = token - 1
            changed = {PLUS: value + digit, MINUS: value - digit, TIMES: value * digit}
            value = changed[waiting] % MODULUS
        elif token in (PLUS, MINUS, TIMES):
            waiting = token
    return value


def bracketed(words: Iterator[int], length: int, operators: int) -> tuple[list[int], int]:
    """An expression of exactly `length` tokens, and its value.

    words: numbers below 2**32, at least `length` of them.
    operators: 2 for + and -, 3 with multiplication.
    """
    if length < 5:
        digit = _below(words, MODULUS)
        signed = length % 2 == 0
        tokens = [MINUS, 1 + digit] if signed else [1 + digit]
        return ([OPEN, *tokens, CLOSE] if length > 2 else tokens), (-digit if signed else digit)
    left = 1 + _below(words, length - 4)
    first, a = bracketed(words, left, operators)
    second, b = bracketed(words, length - 3 - left, operators)
    operator = _below(words, operators)
    value = (a + b, a - b, a * b)[operator] % MODULUS
    return [OPEN, *first, PLUS + operator, *second, CLOSE], value


def _below(words: Iterator[int], bound: int) -> int:
    return next(words) * bound >> 32


@lru_cache
def surely_zero(length: int, operators: int, *, brackets: bool) -> tuple[float, ...]:
    """The probability a, above, of expressions of 1 .. `length` tokens."""
    if brackets:
        return _surely_zero_trees(length, operators)
    by_digits = _surely_zero_sums((length + 1) // 2, operators)
    return tuple(by_digits[(tokens + 1) // 2] for tokens in range(1, length + 1))


def _surely_zero_sums(digits: int, operators: int) -> list[float]:
    """Of 0 .. `digits` digits without brackets: every term has to be 0 for sure."""
    bind = 1 / 3 if operators == 3 else 0.0
    found = [1.0]
    for count in range(1, digits + 1):
        chance = bind ** (count - 1) * (1 - 0.8 ** (count - 1))  # all of it is one term
        for first in range(1, count):
            share = bind ** (first - 1) * (1 - bind)
            chance += share * (1 - 0.8 ** (first - 1)) * found[count - first]
        found.append(chance)
    return found


def _surely_zero_trees(length: int, operators: int) -> tuple[float, ...]:
    """Of 1 .. `length` tokens with brackets: by the operator and where it stands."""
    found: list[float] = []
    for tokens in range(1, length + 1):
        ways = [(found[left - 1], found[tokens - 4 - left]) for left in range(1, tokens - 3)]
        chances = [_joined(a, b, operators) for a, b in ways]
        found.append(sum(chances) / len(chances) if chances else 0.0)
    return tuple(found)


def _joined(a: float, b: float, operators: int) -> float:
    both = 2 * a * b
    product = 1 - 0.8 * (1 - a) * (1 - b) if operators == 3 else 0.0
    return (both + product) / operators
