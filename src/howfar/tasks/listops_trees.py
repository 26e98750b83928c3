"""Random expression trees of ListOps, many at once, level by level.

Idea      a node is a digit with probability 3/4, else an operator with 2 .. `arguments` children;
          nodes at level `depth` are digits. Trees are drawn until their tokens are between two
          bounds; a tree that is already too long is given up at once
Words     32 random bits a node. Item i owns the words of the counters i * 2**13 + block in each of
          its streams, so that ragged rows of them cost no more than what is used; attempt a at its
          tree those of item i * 2**18 + a, so that many attempts are made at once
Fit       for one exact length, trees within a sixth of it are drawn, and single digits are then
          added to or taken from operators that have room
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from howfar.tasks.streams import HALF, MASK, Draws, Integers, Words

Stream: TypeAlias = Callable[[str, Integers], Draws]  # what for, whose -> words
Flags: TypeAlias = NDArray[np.bool_]

_BLOCKS = 13  # an item owns 2**13 blocks of 4 words a stream
_ATTEMPTS = 18
_AT_ONCE = 128  # attempts, of a few items or of many
_A_BLOCK = 8  # halves of words
_FOURTH = np.uint64(30)  # the two uppermost bits decide operator or digit, the rest the children
_REST = np.uint64((1 << 30) - 1)


@dataclass(slots=True)
class Level:
    """Operators of one level of all items, and their children.

    owner: (N,) item of each operator. args: (N,) its children. inner: (C,) which children are
    operators.
    """

    owner: Integers
    args: Integers
    inner: Flags

    @property
    def starts_N(self) -> Integers:
        """Where each operator's children begin."""
        return np.cumsum(self.args) - self.args

    @property
    def place_C(self) -> Integers:
        """Place of each child among its siblings."""
        return np.arange(len(self.inner)) - np.repeat(self.starts_N, self.args)

    @property
    def owner_C(self) -> Integers:
        """Item of each child."""
        return np.repeat(self.owner, self.args)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which trees are drawn: levels, children at most, tokens at least and at most."""

    depth: int
    arguments: int
    shortest: int
    longest: int

    @property
    def slack(self) -> int:
        """How far from an exact length a tree may be before it is fitted; 0: lengths vary."""
        return self.longest // 6 if self.shortest == self.longest else 0


def trees(rule: Rule, stream: Stream, items_B: Integers) -> list[Level]:
    """One tree an item: its levels, operators in the order of their items."""
    found: list[list[Level]] = []
    pending_P = np.arange(len(items_B))
    attempt = 0
    while len(pending_P):
        tries = max(1, _AT_ONCE // len(pending_P))
        numbers_PA = (items_B[pending_P, None] << _ATTEMPTS) + attempt + np.arange(tries)
        levels, good = _attempt(rule, stream, numbers_PA.ravel())
        good_PA = good.reshape(numbers_PA.shape)
        good_PA &= np.cumsum(good_PA, axis=1) == 1  # the first that will do
        found.append([_kept(x, good_PA.ravel(), np.repeat(pending_P, tries)) for x in levels])
        pending_P = pending_P[~good_PA.any(1)]
        attempt += tries
    levels = _merged(found)
    if rule.shortest == rule.longest:
        _fit(rule, stream, items_B, levels)
    return levels


def ragged(draws: Stream, purpose: str, items_B: Integers, counts_B: Integers) -> Words:
    """`counts_B` times 32 random bits of every item, one after another: (sum of counts,)."""
    return _ragged(draws, purpose, items_B, (np.zeros_like(counts_B), counts_B))


def _ragged(
    draws: Stream, purpose: str, items_B: Integers, blocks: tuple[Integers, Integers]
) -> Words:
    first_B, counts_B = blocks
    blocks_B = -(-counts_B // _A_BLOCK)
    before_B = np.cumsum(blocks_B) - blocks_B
    within_K = np.arange(int(blocks_B.sum())) - np.repeat(before_B - first_B, blocks_B)
    words = draws(purpose, (np.repeat(items_B, blocks_B) << _BLOCKS) + within_K).words(4)
    halves = np.stack([words >> HALF, words & MASK], axis=-1).ravel()
    shift_B = _A_BLOCK * before_B - (np.cumsum(counts_B) - counts_B)
    return np.asarray(
        halves[np.arange(int(counts_B.sum())) + np.repeat(shift_B, counts_B)], dtype=np.uint64
    )


def _attempt(rule: Rule, stream: Stream, items_P: Integers) -> tuple[list[Level], Flags]:
    """One tree an item, whether it will do or not, and whether it will."""
    num = len(items_P)
    most = rule.longest + rule.slack
    one_P = np.ones(num, dtype=np.int64)
    owner_N = np.arange(num)
    args_N = _args(rule, _ragged(stream, "tree", items_P, (0 * one_P, one_P)))
    tokens_P, block_P = 2 * one_P, one_P.copy()
    levels: list[Level] = []
    for depth in range(1, rule.depth):
        children_P = np.bincount(owner_N, args_N, num).astype(np.int64)
        tokens_P += children_P
        alive_N = (tokens_P <= most)[owner_N]  # every child is a token or more
        owner_N, args_N = owner_N[alive_N], args_N[alive_N]
        children_P[tokens_P > most] = 0
        last = depth == rule.depth - 1
        counts_P = 0 * one_P if last else children_P
        words_C = _ragged(stream, "tree", items_P, (block_P, counts_P))
        block_P += -(-counts_P // _A_BLOCK)
        total = int(children_P.sum())
        inner_C = np.zeros(total, dtype=bool) if last else (words_C >> _FOURTH) == 0
        levels.append(Level(owner_N, args_N, inner_C))
        owner_N, args_N = levels[-1].owner_C[inner_C], _args(rule, words_C[inner_C[: len(words_C)]])
        tokens_P += np.bincount(owner_N, minlength=num)  # the closing brackets
        if not len(owner_N):
            break
    least = rule.shortest - rule.slack
    good_P = (tokens_P >= least) & (tokens_P <= most)
    if rule.shortest == rule.longest:
        room_P, spare_P = _room(rule, levels, num)
        good_P &= (tokens_P + room_P >= rule.longest) & (tokens_P - spare_P <= rule.longest)
    return levels, good_P


def _args(rule: Rule, words_N: Words) -> Integers:
    return 2 + (((words_N & _REST) * np.uint64(rule.arguments - 1)) >> _FOURTH).astype(np.int64)


def _room(rule: Rule, levels: list[Level], num: int) -> tuple[Integers, Integers]:
    """How many digits each item can take in, and can give away."""
    room_P, spare_P = np.zeros(num, dtype=np.int64), np.zeros(num, dtype=np.int64)
    for level in levels:
        room_P += np.bincount(level.owner, rule.arguments - level.args, num).astype(np.int64)
        spare_P += np.bincount(level.owner_C[_spare(level)], minlength=num)
    return room_P, spare_P


def _spare(level: Level) -> Flags:
    """Children that may go: digits, without the first two places, so that two remain."""
    return ~level.inner & (level.place_C >= 2)


def _kept(level: Level, good_P: Flags, pending_P: Integers) -> Level:
    good_N, good_C = good_P[level.owner], good_P[level.owner_C]
    owner_N = pending_P[level.owner[good_N]]
    return Level(owner_N, level.args[good_N], level.inner[good_C])


def _merged(found: list[list[Level]]) -> list[Level]:
    merged: list[Level] = []
    for depth in range(max((len(levels) for levels in found), default=0)):
        same = [levels[depth] for levels in found if len(levels) > depth]
        owner_N = np.concatenate([level.owner for level in same])
        args_N = np.concatenate([level.args for level in same])
        inner_C = np.concatenate([level.inner for level in same])
        order_N = np.argsort(owner_N, kind="stable")
        order_C = np.argsort(np.repeat(owner_N, args_N), kind="stable")
        merged.append(Level(owner_N[order_N], args_N[order_N], inner_C[order_C]))
    return merged


def _fit(rule: Rule, stream: Stream, items_B: Integers, levels: list[Level]) -> None:
    """Bring every item to the one length, by digits added or taken away at random places."""
    num = len(items_B)
    missing_B = np.full(num, rule.longest)
    for level in levels:
        missing_B -= np.bincount(level.owner, 1 + level.args, num).astype(np.int64)
    missing_B -= 1  # the root is no child
    rooms = [np.repeat(np.arange(len(x.args)), rule.arguments - x.args) for x in levels]
    spares = [np.flatnonzero(_spare(level)) for level in levels]
    owners = [x.owner[room] for x, room in zip(levels, rooms, strict=True)]
    added = _picked(stream, "add", items_B, (owners, missing_B))
    owners = [x.owner_C[spare] for x, spare in zip(levels, spares, strict=True)]
    taken = _picked(stream, "take", items_B, (owners, -missing_B))
    for number, level in enumerate(levels):
        more_N = np.bincount(rooms[number][added[number]], minlength=len(level.args))
        gone = spares[number][taken[number]]
        less_N = np.bincount(
            np.repeat(np.arange(len(level.args)), level.args)[gone],
            minlength=len(level.args),
        )
        # No item both gains and loses, so the places of one do not move those of the other.
        ends = np.repeat(level.starts_N + level.args, more_N)
        kept_C = np.ones(len(level.inner), dtype=bool)
        kept_C[gone] = False
        grown = np.insert(level.inner, ends, False)
        level.inner = grown[np.insert(kept_C, ends, True)]
        level.args = level.args + more_N - less_N


def _picked(
    stream: Stream, purpose: str, items_B: Integers, wanted: tuple[list[Integers], Integers]
) -> list[Flags]:
    """Of each item's places (their owners, by level) as many as it wants, at random."""
    owners, wanted_B = wanted
    owner = np.concatenate(owners) if owners else np.empty(0, dtype=np.int64)
    by_item = np.argsort(owner, kind="stable")
    counts_B = np.bincount(owner, minlength=len(items_B))
    key = np.empty(len(owner), dtype=np.uint64)
    key[by_item] = ragged(stream, purpose, items_B, counts_B)
    order = np.lexsort((key, owner))
    rank = np.empty(len(owner), dtype=np.int64)
    rank[order] = np.arange(len(owner)) - np.repeat(np.cumsum(counts_B) - counts_B, counts_B)
    picked = rank < wanted_B[owner]
    ends = np.cumsum([len(part) for part in owners])[:-1]
    return [np.asarray(part, dtype=bool) for part in np.split(picked, ends)]
