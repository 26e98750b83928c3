"""`howfar generate`: text from a language model, as it is written; answers of a seq2seq model."""

import sys
from typing import Any

import click

from howfar.cli.options import Real, Whole, all_of

MOST_PROMPT = 1 << 24  # characters read from standard input

_choosing = all_of(
    click.option(
        "--max-tokens", type=Whole(1, 2**24), default=200, show_default=True, help="Written, most."
    ),
    click.option(
        "--temperature",
        type=Real(0, 100),
        help="0: the most likely token. Default: 1, and 0 for a sequence-to-sequence model.",
    ),
    click.option("--top-k", type=Whole(1, 2**31), help="Draw from the k most likely tokens."),
    click.option(
        "--top-p", type=Real(1e-9, 1), help="Draw from the fewest that hold this probability."
    ),
    click.option(
        "--stop",
        multiple=True,
        metavar="TEXT",
        help="End before this text; may be given again. \\n is a line break.",
    ),
    click.option(
        "--beams",
        type=Whole(1, 1000),
        default=1,
        show_default=True,
        help="Candidates of a sequence-to-sequence model.",
    ),
)


@click.command("generate", short_help="Let a trained language model write.")
@click.argument("model")
@click.option(
    "--prompt", required=True, metavar="TEXT|-", help="What comes before; - reads standard input."
)
@_choosing
@click.option("--echo", is_flag=True, help="Print the prompt first.")
@click.option("--trust-code", is_flag=True, help="Run code that the model names.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, at the end.")
@click.option(
    "--seed", type=Whole(0, 2**62), default=0, show_default=True, help="The same, the same text."
)
@click.option("--threads", type=Whole(1, 256), default=1, show_default=True, help="Of torch.")
@click.option("--device", default="cpu", metavar="NAME", show_default=True, help="cpu, cuda, mps.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def generate_command(
    model: str, prompt: str, echo: bool, as_json: bool, debug: bool, **options: Any
) -> int:
    """Go on from a prompt with MODEL, the folder that `howfar train --out` wrote.

    Text appears as it is written; Ctrl-C ends it. A sequence-to-sequence model answers the prompt.
    """
    from howfar.bundle.generate import generate
    from howfar.cli.compare import command_line
    from howfar.cli.predict import opened
    from howfar.cli.write import document, log, note

    given = _read_prompt() if prompt == "-" else prompt
    bundle = opened(model, options)
    console = log()
    for line in bundle.notes:
        note(console, f"note: {line}")
    screen = _Screen(silent=as_json)
    if echo:
        between = " " if bundle.settings.tokens == "word" and given else ""
        screen.show(given + between)
    names = ("max_tokens", "temperature", "top_k", "top_p", "beams", "seed")
    chosen = {name: options[name] for name in names}
    stop = tuple(text.replace("\\n", "\n") for text in options["stop"])
    about = {"schema": 1, "command": command_line(), "model": model, "prompt": given}
    try:
        found = generate(bundle, given, stop=stop, stream=screen.add, **chosen)
    except KeyboardInterrupt:
        screen.end()
        if as_json:
            document({**about, "text": screen.text, "reason": "interrupted"})
        note(console, "howfar: stopped; what was written until then is above.")
        return 130
    screen.end()
    for line in found.notes:
        note(console, f"note: {line}")
    if as_json:
        document(
            {
                **about,
                "text": found.text,
                "tokens": found.tokens,
                "reason": found.reason,
                "prompt_tokens": found.prompt_tokens,
                "us_per_token": round(1e6 * found.per_token_seconds, 1),
                "seed": options["seed"],
                "notes": list(found.notes),
            }
        )
    return 0


class _Screen:
    """Text on stdout piece by piece; falls silent where the reader has gone."""

    def __init__(self, *, silent: bool) -> None:
        self.silent = silent
        self.text = ""
        self.last = "\n"

    def add(self, text: str) -> None:
        """What the model wrote."""
        self.text += text
        self.show(text)

    def show(self, text: str) -> None:
        """Print without a line break; control characters are spelled out on a terminal."""
        from howfar.cli.write import hush

        if self.silent or not text:
            return
        self.last = text[-1]
        told = _harmless(text) if sys.stdout.isatty() else text
        try:
            print(told, end="", flush=True)
        except BrokenPipeError:
            self.silent = True
            hush()

    def end(self) -> None:
        """A line break, where there is none."""
        if self.last != "\n":
            self.show("\n")


def _harmless(text: str) -> str:
    """Escape sequences of a terminal are spelled out."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def _read_prompt() -> str:
    """Standard input as UTF-8, one line break at its end left out.

    Raises:
        DataError: E-ENCODING, E-FIELD.
    """
    from howfar.core.errors import DataError

    data = sys.stdin.buffer.read(4 * MOST_PROMPT + 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        message = f"The prompt on standard input is no UTF-8 (byte {fault.start:,})."
        raise DataError("E-ENCODING", message, "iconv -t utf-8") from fault
    if len(text) > MOST_PROMPT:
        message = f"The prompt on standard input has more than {MOST_PROMPT:,} characters."
        raise DataError("E-FIELD", message, "a shorter prompt")
    return text.replace("\r\n", "\n").removesuffix("\n")
