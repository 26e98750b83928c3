"""What a measured swap reach says: one number, the card of nested numbers, and the curves.

Units    kept tokens; around a source centre: tokens kept on each side, the centre counted in
"""

from dataclasses import dataclass

from howfar.measure.curve import Curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A part of an effect, with its interval; above 1 where it does more than the whole."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """A narrowed or milder change measured against itself.

    share: what changing all it may change does, as a share of the swap of everything on that side.
    value: the reach relative to that effect (None: no influence, or `censored`); low, high: its
    interval.
    """

    share: Share
    value: int | None
    low: int | None
    high: int | None
    censored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The nested numbers, always shown together; None: see `censored`, else not asked or none.

    structural: the furthest token that could matter. detectable: it does look that far. used50,
    used95, used99: that share of the effect comes from here. useful: looking further does not pay.
    censored: names of those that lie beyond the window.
    """

    structural: int
    detectable: int | None
    used50: int | None
    used95: int | None
    used99: int | None
    useful: int | None
    censored: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapReach:
    """One measured reach, in kept tokens.

    value: R_eps, or None: no influence, or (`censored`) more than `window`.
    low, high: its interval; None with a warning for few sequences; high None: beyond the window.
    ladder: R at each level asked for. detectable: as far as the lower bound of r stays above the
    noise floor. structural: as the model declares it (`structural_declared`), else the furthest
    token whose effect exceeds rounding, a lower bound. useful: beyond it the loss is not
    worse than with all tokens by more than the tolerance (None: no labels). Either is None where
    it is censored, and for few sequences. noise_floor: as a share of the effect at k = 0.
    side, how: which tokens were changed, and into what. own: for a class of tokens, and for
    changes other than the swap. source_share: of an encoder-decoder, the part of source and prefix
    together that the source has.
    """

    value: int | None
    low: int | None
    high: int | None
    r50: int | None
    censored: bool
    window: int
    ladder: dict[float, int | None]
    detectable: int | None
    detectable_censored: bool
    structural: int
    structural_declared: bool
    useful: int | None
    useful_censored: bool
    per_model: tuple[int | None, ...]
    curve: Curve
    benefit: Curve | None
    noise_floor: float
    num_sequences: int
    design: str
    passes: float
    warnings: tuple[str, ...]
    side: str = "past"
    how: str = "swap"
    own: Own | None = None
    source_share: Share | None = None

    @property
    def card(self) -> Card:
        """Structural, detectable, used and useful, and which of them lie beyond the window."""
        used = {"used50": 0.5, "used95": 0.05, "used99": 0.01}
        reaches = {name: self.ladder[level] for name, level in used.items()}
        influence = bool(self.curve.x)
        beyond = {
            "detectable": self.detectable_censored,
            **{name: influence and reach is None for name, reach in reaches.items()},
            "useful": self.useful_censored,
        }
        return Card(
            structural=self.structural,
            detectable=self.detectable,
            useful=self.useful,
            censored=tuple(name for name, censored in beyond.items() if censored),
            **reaches,
        )
