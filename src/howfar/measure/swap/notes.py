"""What must be said beside a swap reach: each warning is one sentence, or none."""

from howfar.measure.stats import MIN_SEQUENCES
from howfar.measure.swap.doubt import Doubt, Effects
from howfar.measure.swap.fast import Fast
from howfar.measure.swap.options import SwapOptions
from howfar.measure.swap.paired import Paired
from howfar.measure.swap.result import Own

ORDERS = ("shuffle", "reverse")
ONE_SIDE = (
    "tokens after the target move the output: this is the reach into the past alone, "
    "of a model that looks both ways"
)


def about_effects(
    effects: Effects, options: SwapOptions, *, influence: bool, noisy: bool
) -> tuple[str, ...]:
    """Influence, noise, donors, too few or too long rows."""
    said = []
    num = effects.moved[0].shape[1]
    if all(bool((given == effects.seqs.tokens).all()) for given in effects.given):
        said.append("every sequence equals its donor: nothing was replaced")
    elif not influence:
        said.append(_no_influence(effects, options))
    if noisy:
        said.append("equal calls give different answers: a share of the effect is noise")
    if num < MIN_SEQUENCES:
        said.append(f"no interval: {num} sequences, at least {MIN_SEQUENCES} are needed")
    said.extend(_about_lengths(effects, options))
    return tuple(said)


def without_scale(effects: Effects) -> bool:
    """Fast design: nothing older than the cut matters at the cut, but it does further on."""
    if not isinstance(effects, Fast) or effects.whole.mean() > 3 * effects.floor:
        return False
    return bool(effects.moved[effects.top].mean() > 3 * effects.floor)


def _no_influence(effects: Effects, options: SwapOptions) -> str:
    if without_scale(effects):
        return (
            "the cut is too early: what stands before it matters only further on, so that shares "
            'have no scale; longer rows, or design="paired"'
        )
    if effects.whole.mean() <= 3 * effects.floor:
        return "no influence: replacing the whole input does not move the output"
    if options.how in ORDERS:
        return "no influence: the order of these tokens does not move the output"
    return "no influence: these tokens do not move the output, others do"


def _about_lengths(effects: Effects, options: SwapOptions) -> list[str]:
    said = []
    longest = effects.seqs.window
    if options.side == "future":
        longest = int(effects.seqs.lengths.max())
    if options.trained_length and longest > options.trained_length:
        said.append(
            f"beyond the trained length: {longest} tokens measured, "
            f"{options.trained_length} trained on"
        )
    ends_N = effects.region.windows if isinstance(effects, Paired) else effects.seqs.lengths
    if isinstance(effects, Fast) and int(ends_N.min()) < int(ends_N.max()):
        said.append(
            f"rows differ in length: only the first {int(ends_N.min())} tokens of each count"
        )
    elif int(ends_N.min()) < int(ends_N.max()) and options.side != "source":
        end = "end" if options.side == "future" else "start"
        said.append(f"rows differ in length: shorter rows show no effect beyond their own {end}")
    if options.how == "drop":
        said.append("rows were shortened: what is left stands at other positions than it did")
    return said


def about_parts(own: Own | None, eps: float) -> tuple[str, ...]:
    """A narrowed or milder change that does less than the share asked for."""
    if own is None or own.share.value > eps:
        return ()
    share = f"{own.share.value:.1%} of what the swap of all does"
    return (f"changing all of these tokens does {share}: no more than may come from afar",)


def broken_promise(structural: int, detectable: int | None) -> tuple[str, ...]:
    """An effect from beyond the declared reach."""
    if detectable is None or detectable <= structural:
        return ()
    return (f"tokens beyond the declared reach of {structural} move the output",)


def rise(
    effects: Effects, doubt: Doubt, options: SwapOptions, value: int | None
) -> tuple[str, ...]:
    """The fit levels a curve that rises again: say so where the rise is beyond doubt."""
    if value is None:
        return ()
    over = [k for k in sorted(effects.moved) if k >= value]
    over = [k for k in over if doubt.band(k)[0] > options.eps]
    if not over:
        return ()
    share = doubt.ratio(over[-1])
    return (f"the effect rises again: with {over[-1]} tokens kept it is {share:.0%} of the whole",)
