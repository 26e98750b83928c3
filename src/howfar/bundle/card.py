"""The model card of a bundle: `README.md`, which people read first and hubs index.

Idea     everything is taken from the settings and the record of training, so a card cannot claim
         what was not measured; a score stands beside simple baselines on the same items
Safety   user text (names of files, labels) stands in code spans, and quoted in the YAML in front:
         it is text there, never Markdown or HTML
"""

import re
from collections.abc import Iterable, Iterator

from howfar.bundle.settings import Settings
from howfar.record.comparison import Data, Score
from howfar.record.training import Spent, Training

PIPELINES = {  # how hubs call the aims
    "classification": "text-classification",
    "multilabel": "text-classification",
    "regression": "text-classification",
    "tagging": "token-classification",
    "lm": "text-generation",
    "masked": "fill-mask",
    "seq2seq": "translation",
}
DOES = {
    "classification": "names the class of a text",
    "multilabel": "names the labels of a text, none or several",
    "regression": "gives a number for a text",
    "tagging": "names the class of every token of a text",
    "lm": "continues a text",
    "masked": "fills in hidden tokens of a text",
    "seq2seq": "turns one text into another",
}
UNITS = {"byte": "bytes", "char": "characters", "word": "words"}
_SHELL = {
    "lm": 'howfar generate FOLDER --prompt "..."',
}
_PYTHON = {
    "lm": 'model.generate("...").text',
}
_MOST_NAMES = 100


def card(
    settings: Settings, training: Training | None, parameters: int, curve: str | None = None
) -> str:
    """The whole file.

    Args:
        settings: of the model.
        training: its record; None: not trained here, and nothing is said of it.
        parameters: weights, counted.
        curve: the file beside the card that shows how it learned.
    """
    lines = ["---", *_front(settings, training), "---", ""]
    for part in (
        _head(settings, parameters),
        _use(settings),
        _scores(training),
        _trained(training, curve),
        _limits(settings, training),
        _names(settings),
    ):
        found = list(part)
        lines += [*found, ""] if found else []
    return "\n".join(lines)


def quoted(text: str) -> str:
    """User text as a double-quoted YAML string, in ASCII but for what can be printed."""
    return '"' + "".join(map(_yaml_character, text)) + '"'


def span(text: str, *, cell: bool = False) -> str:
    """User text as a Markdown code span on one line; `cell`: in a table, where | parts cells."""
    clean = "".join(c if _plain(c) else f"U+{ord(c):04X}" for c in text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", clean)), default=0))
    inner = f" {clean} " if not clean or clean[0] in " `" or clean[-1] in " `" else clean
    return f"{fence}{inner}{fence}".replace("|", r"\|" if cell else "|")


def _plain(character: str) -> bool:
    hides = "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    return character.isprintable() and not hides


def _yaml_character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if _plain(character) else f"\\U{ord(character):08X}"


def _front(settings: Settings, training: Training | None) -> Iterator[str]:
    yield "library_name: howfar"
    yield f"pipeline_tag: {PIPELINES.get(settings.aim, 'other')}"
    yield "tags:"
    yield from (f"- {quoted(tag)}" for tag in ("howfar", settings.family, settings.aim))
    if training is None:
        return
    if training.data.licence:
        yield f"data_license: {quoted(training.data.licence)}"
    if not training.scores:
        return
    yield "metrics:"
    yield from (f"- {quoted(score.name)}" for score in training.scores)
    yield from ("model-index:", f"- name: {quoted(settings.family)}", "  results:")
    yield from ("  - task:", f"      type: {PIPELINES.get(settings.aim, 'other')}")
    name = quoted(training.data.name)
    yield from ("    dataset:", f"      name: {name}", f"      type: {name}", "    metrics:")
    for score in training.scores:
        yield from (f"    - type: {quoted(score.name)}", f"      value: {score.value!r}")


def _head(settings: Settings, parameters: int) -> Iterator[str]:
    yield f"# A {span(settings.family)} that {DOES.get(settings.aim, 'reads text')}"
    yield ""
    yield (
        f"{parameters:,} parameters, width {settings.width:,}; reads texts of up to"
        f" {settings.length:,} {UNITS.get(settings.tokens, 'tokens')}."
        " Made with [howfar](https://pypi.org/project/howfar/)."
    )


def _use(settings: Settings) -> Iterator[str]:
    shell = _SHELL.get(settings.aim, "howfar predict FOLDER texts.csv --out answers.csv")
    python = _PYTHON.get(settings.aim, 'model.predict(["a text", "another"])')
    yield from ("## Use", "", "```sh", "pip install howfar", shell, "```", "")
    yield from ("```python", "import howfar", "", 'model = howfar.load("FOLDER")', python, "```")


def _scores(training: Training | None) -> Iterator[str]:
    if training is None or not (training.scores or training.baselines):
        return
    yield from ("## Scores", "")
    yield f"On {training.data.test:,} items of the test part, which training never saw."
    yield from (
        "",
        "| predictor | score | value | 95 % interval | better |",
        "|---|---|---|---|---|",
    )
    for score in training.scores:
        yield _row("**this model**", score)
    for baseline in training.baselines:
        yield _row(span(baseline.name, cell=True), baseline.score)


def _row(who: str, score: Score) -> str:
    known = score.low is not None and score.high is not None
    interval = f"{score.low:.4g} to {score.high:.4g}" if known else "not known"
    name = span(score.name, cell=True)
    return f"| {who} | {name} | {score.value:.4g} | {interval} | {score.better} |"


def _trained(training: Training | None, curve: str | None) -> Iterator[str]:
    if training is None:
        return
    data = training.data
    yield from ("## Training", "")
    if curve is not None:
        yield from (f"![Training and validation loss against tokens seen]({curve})", "")
    yield f"- data: {span(data.name)}" + (f", SHA-256 `{data.sha256}`" if data.sha256 else "")
    yield f"- parts: {data.train:,} training, {data.validation:,} validation, {data.test:,} test"
    yield f"- licence of the data: {span(data.licence) if data.licence else 'not known'}"
    yield f"- one token is one {span(data.unit)}; vocabulary of {data.vocabulary:,}"
    yield f"- budget {span(training.budget)}, seed {training.seed}"
    rate = f"learning rate {training.learning_rate:g}"
    early = training.pretraining
    if early is None or training.total is None:
        yield f"- {_spent(training)}; {rate}"
    else:
        yield f"- pretraining ({span(early.kind)}) on the training texts: {_spent(early)}; {rate}"
        yield f"- training, without the pretraining: {_spent(training)}; {rate}"
        yield f"- both together: {_spent(training.total)}"
    yield f"- the weights are those of step {training.best_step:,}, the best in validation"
    if training.status != "done":
        why = f": {span(training.reason)}" if training.reason else ""
        yield f"- **the run is {span(training.status)}, not done**{why}"
    if training.inexact:
        yield "- the run went on in a way that does not give the same bits again"
    if training.command:
        yield f"- command: {span(training.command)}"
    for name, value in sorted(training.provenance.items()):
        yield f"- {span(name)}: {span(str(value))}"


def _spent(stage: Training | Spent) -> str:
    return (
        f"{stage.steps:,} steps, {stage.tokens:,} tokens, {stage.flops:.3g} FLOPs,"
        f" {stage.seconds:,.0f} s"
    )


def _limits(settings: Settings, training: Training | None) -> Iterator[str]:
    unit = UNITS.get(settings.tokens, "pieces")
    yield from ("## Limits", "")
    if settings.aim != "lm":
        lost = "end" if settings.keep == "start" else "start"
        yield (
            f"- A text of more than {settings.length:,} {unit} is cut: its {lost} is not read."
            " Such answers are marked `cut`, answers to texts without a known token `empty`."
        )
    if training is None:
        yield "- This model was not trained by howfar; what it can do was not measured."
        return
    yield from _data_limits(training.data)
    yield "- Scores hold for texts like those of the test part; other texts were not measured."


def _data_limits(data: Data) -> Iterator[str]:
    if data.truncated_rows:
        yield (
            f"- {data.truncated_rows:,} of its own {data.rows:,} rows were cut, and"
            f" {data.truncated_tokens:,} tokens not read."
        )
    if data.unknown_tokens:
        yield f"- {data.unknown_tokens:,} tokens of validation and test are outside the vocabulary."
    if data.duplicates:
        yield f"- {data.duplicates:,} rows repeat the text of an earlier row."


def _names(settings: Settings) -> Iterable[str]:
    if not settings.names:
        return []
    listed = ", ".join(span(name) for name in settings.names[:_MOST_NAMES])
    more = len(settings.names) - _MOST_NAMES
    return ["## Labels", "", f"{listed} and {more:,} more" if more > 0 else listed]
