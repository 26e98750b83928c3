"""Blocks of several families in one stack, in the order of a pattern such as attention:1,ssm:3.

Idea     x + mixer(norm(x)), block after block; each block is that of its family with the
         settings it has there: a few blocks that relate all pairs, many that carry a state.
         `attention` is the transformer's block, `ssm` that of mamba2; a family's own name works
         too, and a part without a number is one block
Shapes   (B, L, D) -> (B, L, D); depth: how often the pattern is repeated
Reach    1 + sum(reach - 1) over the blocks; unbounded if one is
State    the sum over the blocks
Source   Lieber et al. 2024 (Jamba: attention to Mamba 1 to 7), https://arxiv.org/abs/2403.19887,
         section 2; De et al. 2024 (Griffin), https://arxiv.org/abs/2402.19427, section 2
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from howfar.core.errors import UsageError, closest, shown
from howfar.models import (
    deltanet,
    elman,
    gated_deltanet,
    gatedconv,
    gla,
    gru,
    hyena,
    indrnn,
    linear_attention,
    lru,
    lstm,
    mamba,
    mamba2,
    mingru,
    minlstm,
    retention,
    rglru,
    s4d,
    tcn,
    transformer,
)
from howfar.models.blocks import Sizes, Stack, positive

PARTS: dict[str, tuple[Callable[[Sizes, Any], Stack], Any]] = {
    "attention": (transformer.build_body, transformer.TransformerSettings),
    "ssm": (mamba2.build_body, mamba2.Mamba2Settings),
    "deltanet": (deltanet.build_body, deltanet.DeltanetSettings),
    "elman": (elman.build_body, elman.ElmanSettings),
    "gated_deltanet": (gated_deltanet.build_body, gated_deltanet.GatedDeltanetSettings),
    "gatedconv": (gatedconv.build_body, gatedconv.GatedConvSettings),
    "gla": (gla.build_body, gla.GlaSettings),
    "gru": (gru.build_body, gru.GruSettings),
    "hyena": (hyena.build_body, hyena.HyenaSettings),
    "indrnn": (indrnn.build_body, indrnn.IndRnnSettings),
    "linear_attention": (linear_attention.build_body, linear_attention.LinearAttentionSettings),
    "lru": (lru.build_body, lru.LruSettings),
    "lstm": (lstm.build_body, lstm.LstmSettings),
    "mamba": (mamba.build_body, mamba.MambaSettings),
    "mamba2": (mamba2.build_body, mamba2.Mamba2Settings),
    "mingru": (mingru.build_body, mingru.MinGruSettings),
    "minlstm": (minlstm.build_body, minlstm.MinLstmSettings),
    "retention": (retention.build_body, retention.RetentionSettings),
    "rglru": (rglru.build_body, rglru.RgLruSettings),
    "s4d": (s4d.build_body, s4d.S4dSettings),
    "tcn": (tcn.build_body, tcn.TcnSettings),
    "transformer": (transformer.build_body, transformer.TransformerSettings),
}

MOST = 1_000  # blocks


@dataclass(frozen=True, slots=True, kw_only=True)
class HybridSettings:
    """pattern: parts and their blocks, in order; depth: repeats of it."""

    pattern: str = "ssm:3,attention:1"
    depth: int = 1

    def __post_init__(self) -> None:
        positive(depth=self.depth)
        parts(self.pattern)


def parts(pattern: object) -> list[tuple[str, int]]:
    """The parts of a pattern with their number of blocks.

    Raises:
        UsageError: E-OPTION for a part nobody knows or a number that is none.
    """
    if not isinstance(pattern, str) or not pattern.strip():
        raise UsageError(
            "E-OPTION", f"pattern cannot be {shown(pattern)}.", "pattern=attention:1,ssm:3"
        )
    found = []
    for part in pattern.split(","):
        name, colon, number = (word.strip() for word in part.partition(":"))
        if name not in PARTS:
            raise UsageError(
                "E-OPTION",
                f"pattern has no part {shown(name)}. {closest(name, PARTS)}"
                f"Known: {', '.join(PARTS)}.",
                "pattern=attention:1,ssm:3",
            )
        if colon and not (number.isascii() and number.isdigit() and int(number) > 0):
            raise UsageError(
                "E-OPTION",
                f"pattern gives {name} {shown(number)} blocks.",
                f"a whole number of at least 1, such as {name}:2",
            )
        found.append((name, int(number) if colon else 1))
    if sum(count for _, count in found) > MOST:
        raise UsageError(
            "E-OPTION",
            f"pattern {shown(pattern)} has more than {MOST:,} blocks.",
            "attention:1,ssm:3",
        )
    return found


def build_body(sizes: Sizes, settings: HybridSettings) -> Stack:
    """The body of the family."""
    inner = replace(sizes, embedding=sizes.width)
    stacks = []
    for name, count in parts(settings.pattern) * settings.depth:
        build, kind = PARTS[name]
        stacks.append(build(inner, kind(depth=count)))
    return Stack.joined(sizes, stacks)
