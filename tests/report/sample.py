"""Three made comparisons with plausible numbers, and every awkward case a report must survive."""

import math

from howfar.record.comparison import (
    Baseline,
    Card,
    Comparison,
    CostPoint,
    Curve,
    Data,
    DistancePoint,
    Exponent,
    Learning,
    Need,
    Reach,
    Row,
    Score,
)

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "template": "{{7*7}} ${7*7} {% raw %}",
    "markup": "[bold]x[/bold] [link=http://evil.example]y[/link]",
    "ansi": "\x1b[31mred\x1b[0m\x07",
    "bidi": "abc\u202edcba\u2066",
    "svg": "</svg></text><image href='http://evil.example/x.png' onload='alert(2)'/>",
    "attribute": '" onmouseover="alert(3)" x=\'',
    "surrogate": "lone \ud800 surrogate",
}

KEPT = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
LAGS = (1, 2, 4, 8, 16, 24, 32, 64, 128)
LENGTHS = (128, 256, 512, 1024)
BINS = ((1, 3), (4, 7), (8, 15), (16, 31), (32, 63), (64, 127), (128, 254))
SHAPES = {
    "tcn": (31, 1.0),
    "cnn": (9, 1.0),
    "gru": (60, 1.03),
    "lstm": (48, 1.02),
    "rnn": (18, 1.01),
    "transformer": (200, 1.64),
}
KINDS = {
    "tcn": "convolutional",
    "cnn": "convolutional",
    "gru": "recurrent",
    "lstm": "recurrent",
    "rnn": "recurrent",
    "transformer": "attention",
}


def swap_curve(scale, edge=None, floor=2e-7):
    mean = [1.0 if k == 0 else 0.65 * math.exp(-((k / scale) ** 0.7) * 3) for k in KEPT]
    mean = [
        0.0 if edge is not None and k >= edge else max(m, floor)
        for k, m in zip(KEPT, mean, strict=True)
    ]
    return Curve(
        axis="kept tokens",
        x=KEPT,
        mean=tuple(mean),
        low=tuple(m * 0.7 if i else 1.0 for i, m in enumerate(mean)),
        high=tuple(m * 1.35 if i else 1.0 for i, m in enumerate(mean)),
    )


def benefit_curve(scale):
    mean = [3.0 * math.exp(-((k / scale) ** 0.6) * 3) - (0.004 if k > 100 else 0) for k in KEPT]
    return Curve(
        axis="kept tokens",
        x=KEPT,
        mean=tuple(mean),
        low=tuple(m - 0.02 - 0.05 * abs(m) for m in mean),
        high=tuple(m + 0.02 + 0.05 * abs(m) for m in mean),
    )


def costs(time, power, per_token_bytes):
    return tuple(
        CostPoint(
            length=n,
            forward_us_per_token=time / 3 * (n / 128) ** (power - 1),
            train_us_per_token=time * (n / 128) ** (power - 1),
            forward_peak_bytes=n * per_token_bytes // 3,
            peak_bytes=int(n * per_token_bytes * (n / 128) ** (power - 1)),
            flops_per_token=2.0e5,
        )
        for n in LENGTHS
    )


def learning(final):
    tokens = tuple(range(20_000, 200_001, 20_000))
    return tuple(
        Learning(
            seed=seed,
            learning_rate=3e-3,
            tokens=tokens,
            validation_nats=tuple(
                final + (2.1 - final) * math.exp(-t / 60_000) + 0.01 * seed for t in tokens
            ),
        )
        for seed in (0, 1)
    )


def by_distance(horizon):
    points = []
    for first, last in BINS:
        middle = math.sqrt(first * last)
        p = 0.125 + 0.87 / (1 + (middle / horizon) ** 4)
        points.append(
            DistancePoint(
                distance=first,
                last=last,
                accuracy=p,
                low=max(0, p - 0.03),
                high=min(1, p + 0.025),
                count=400,
            )
        )
    return tuple(points)


def family(name, score, reach, **more):
    scale, power = SHAPES.get(name, (20, 1.0))
    values = {
        "parameters": 49_000 + 731 * len(name),
        "embedding_parameters": 4096,
        "head_parameters": 4160,
        "width": 64,
        "depth": 2,
        "train_seconds": 31.26 + scale / 7,
        "tokens_seen": 200_000,
        "steps": 391,
        "learning_rate": 3e-3,
        "learning_rates": {"0.001": 0.91, "0.003": 0.62, "0.01": 0.88},
        "seeds": (0, 1),
        "seed_scores": (score.value - 0.01, score.value + 0.01),
        "learning": learning(0.4 + 10 / scale),
        "cost": costs(9 + scale / 20, power, 12_000),
        "cost_exponent": Exponent(value=power, low=power - 0.04, high=power + 0.05),
        "state_bytes": 256 * scale,
        "declared_reach": {"tcn": 127, "cnn": 9}.get(name),
    }
    kind = KINDS.get(name, "recurrent")
    return Row(family=name, score=score, reach=reach, **({"kind": kind} | values | more))


def swap(name, value, **more):
    edge = {"tcn": 127, "cnn": 9}.get(name)
    card = Card(
        structural=edge or 256,
        structural_unbounded=edge is None,
        detectable=min(edge or 150, 150),
        used50=1,
        used95=value,
        used99=None if value is None else value * 2,
        useful=more.pop("useful", value),
        censored=more.pop("card_censored", ()),
    )
    scale = SHAPES[name][0]
    values = {
        "low": None if value is None else value - 2,
        "high": None if value is None else value + 3,
        "card": card,
        "noise_floor": 1e-7,
        "curve": swap_curve(scale, edge),
        "benefit": benefit_curve(scale),
        "per_seed": (value, value),
        "sequences": 240,
        "design": "paired",
    }
    return Reach(kind="swap", window=256, value=value, **(values | more))


def score(value, name="accuracy", better="higher"):
    return Score(name=name, value=value, low=value - 0.011, high=value + 0.012, better=better)


COMMON = {
    "settings": {"budget": "200k tokens", "seeds": 2, "eps": 0.05, "quick": False},
    "provenance": {
        "howfar": "0.1.0",
        "python": "3.12.1",
        "torch": "2.13.0",
        "threads": 1,
        "processor": "example processor",
        "when": "2026-11-23T12:00:00Z",
    },
    "seconds": 402.7,
}


def recall():
    rows = (
        family("tcn", score(0.812), swap("tcn", 41), task_reach=126, by_distance=by_distance(110)),
        family("gru", score(0.934), swap("gru", 96), task_reach=127, by_distance=by_distance(170)),
        family("lstm", score(0.901), swap("lstm", 88), task_reach=63, by_distance=by_distance(95)),
        family("cnn", score(0.240), swap("cnn", 8), task_reach=7, by_distance=by_distance(8)),
        family(
            "transformer",
            score(0.988),
            swap(
                "transformer",
                None,
                low=None,
                high=None,
                censored=True,
                card_censored=("used95", "used99", "useful", "detectable"),
            ),
            task_reach=254,
            task_reach_censored=True,
            by_distance=by_distance(900),
        ),
        Row(
            family="rnn",
            kind="recurrent",
            status="failed",
            reason="the loss was not finite at step 212 in every seed",
        ),
    )
    return Comparison(
        data=Data(
            kind="task",
            name="recall",
            unit="symbol",
            train=200_000,
            validation=2_000,
            test=4_000,
            vocabulary=73,
            length=256,
        ),
        rows=rows,
        baselines=(
            Baseline(name="chance", score=Score(name="accuracy", value=0.125)),
            Baseline(
                name="last value seen",
                score=score(0.162),
                note="answers with the most recent value",
            ),
            Baseline(name="oracle", score=Score(name="accuracy", value=1.0)),
        ),
        advice="The transformer recalls best (0.988) and it reaches past the window of 256 "
        "tokens. If 127 symbols back is far enough, the GRU gives 0.934 and needs a fixed "
        "state. The TCN cannot see past 127 tokens by construction.",
        warnings=("rnn: failed in every seed, so it has no numbers.",),
        command="howfar compare --task recall --length 256",
        **COMMON,
    )


def text():
    def bits(v):
        return score(v, "bits per character", "lower")

    silent = swap(
        "rnn",
        None,
        low=None,
        high=None,
        curve=None,
        benefit=None,
        warnings=("replacing the whole input changed the output by less than the noise",),
    )
    rows = (
        family("gru", bits(2.214), swap("gru", 9, useful=31)),
        family("tcn", bits(2.301), swap("tcn", 8, useful=40)),
        family("transformer", bits(2.270), swap("transformer", 7, useful=24)),
        family("rnn", bits(3.9), silent, cost_exponent=None, state_bytes=None, cost=()),
    )
    return Comparison(
        data=Data(
            kind="text",
            name="shakespeare.txt",
            unit="character",
            train=1_003_854,
            validation=55_770,
            test=55_770,
            vocabulary=65,
            length=256,
            sha256="ab" * 32,
            licence="public domain",
        ),
        rows=rows,
        baselines=(
            Baseline(name="unigram", score=bits(4.78)),
            Baseline(name="5-gram", score=bits(2.55), note="add-k smoothing"),
        ),
        demand=(
            Need(
                name="mutual information",
                says="two characters depend on each other up to this far apart",
                unit="bits",
                window=1024,
                value=48,
                curve=Curve(
                    axis="lag",
                    x=(1, 16, 48, 1024),
                    mean=(1.2, 0.02, 0.002, -0.001),
                    low=(1.1, 0.01, 0.001, -0.002),
                    high=(1.3, 0.03, 0.003, 0.001),
                ),
                floor=(0.0005, 0.0005, 0.0004, 0.0005),
            ),
            Need(
                name="counting and copying",
                says="characters of context that pay",
                unit="bits per character",
                window=2048,
                censored=True,
            ),
            Need(name="nothing", says="no dependence was found", unit="bits", window=64),
        ),
        advice="The GRU reads best for this budget and profits from about 31 characters.",
        command="howfar compare shakespeare.txt --text",
        interrupted=True,
        **COMMON,
    )


def interaction(scale, floor=3e-12, value=16, **more):
    mean = tuple(
        0.0 if 1 < scale < 5 and d > 8 else max(0.15 * math.exp(-d / scale * 2), floor)
        for d in LAGS
    )
    curve = Curve(
        axis="lag",
        x=LAGS,
        mean=mean,
        low=tuple(m * 0.5 for m in mean),
        high=tuple(m * 2 for m in mean),
    )
    return Reach(
        kind="interaction",
        window=128,
        value=value,
        curve=curve,
        noise_floor=3e-12,
        sequences=300,
        **({"low": 8, "high": 24} | more),
    )


def labels():
    rows = (
        family("gru", score(0.861), interaction(12)),
        family("lstm", score(0.858), interaction(9)),
        family("cnn", score(0.844), interaction(3, value=2, low=2, high=4)),
        family(
            "bag",
            score(0.867),
            interaction(0.02, value=None, low=None, high=None),
            kind="convolutional",
        ),
    )
    return Comparison(
        data=Data(
            kind="labels",
            name="reviews.csv",
            unit="word",
            rows=1_000,
            dropped=3,
            truncated_rows=812,
            truncated_tokens=61_204,
            duplicates=11,
            train=700,
            validation=148,
            test=149,
            vocabulary=9_411,
            unknown_tokens=804,
            length=128,
            labels={"positive": 512, "negative": 485},
            sha256="cd" * 32,
        ),
        rows=rows,
        baselines=(
            Baseline(name="majority", score=Score(name="accuracy", value=0.514)),
            Baseline(name="TF-IDF + logistic regression", score=score(0.872)),
        ),
        advice="The bag of words does as well as anything here. Order does not pay on this data.",
        warnings=("812 of 1,000 texts are longer than 128 words: their ends were not read.",),
        command="howfar compare reviews.csv --text text --label label",
        **COMMON,
    )


def samples():
    return (recall(), text(), labels())


def hostile():
    """One comparison with a payload in every field that a user can write."""
    h = HOSTILE
    rows = [
        family(
            h[key],
            score(0.5 + i / 100, name=h["markup"]),
            swap("gru", 9 + i, warnings=(h["svg"],)),
            notes=(h["script"],),
            learning_rates={h["attribute"]: 0.5},
            by_distance=by_distance(50),
        )
        for i, key in enumerate(("script", "markup", "ansi", "bidi", "svg", "template"))
    ]
    failed = Row(family=h["attribute"], kind=h["script"], status="failed", reason=h["script"])
    return Comparison(
        data=Data(
            kind="labels",
            name=h["svg"],
            unit=h["script"],
            rows=10,
            length=256,
            labels={h["script"]: 4, h["template"]: 3, h["ansi"]: 3},
            sha256=h["script"],
            notes=tuple(h.values()),
            licence=h["attribute"],
        ),
        rows=(*rows, failed),
        baselines=(
            Baseline(name=h["script"], score=score(0.4, name=h["markup"]), note=h["svg"]),
            Baseline(name="chance", score=score(0.1, name=h["markup"])),
        ),
        advice=h["script"] + h["template"],
        warnings=tuple(h.values()),
        report=h["script"],
        settings={h["script"]: h["template"]},
        provenance={h["svg"]: h["surrogate"]},
        command="howfar compare " + h["script"] + h["ansi"],
    )
