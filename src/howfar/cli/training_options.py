"""What can be said about training on the command line, in three groups."""

import click

from howfar.cli.options import Real, Whole, all_of, table_options

AIMS = ("classification", "multilabel", "tagging", "regression", "lm", "masked", "seq2seq")

reading_options = all_of(
    click.option(
        "--aim",
        type=click.Choice(AIMS),
        help="What is learned. Default: lm of a text, classification of a table with labels.",
    ),
    click.option("--text", metavar="COLUMN", help="Column of texts (seq2seq: of sources)."),
    click.option("--label", metavar="COLUMN", help="Column of labels (seq2seq: of targets)."),
    click.option("--test", metavar="FILE", help="Test rows; else a tenth is held out."),
    click.option("--validation", metavar="FILE", help="Rows to choose on; else a tenth."),
    click.option("--group", metavar="COLUMN", help="Rows of one group stay in one part."),
    click.option("--time", metavar="COLUMN", help="Oldest rows train, newest test."),
    click.option(
        "--label-separator", default="|", metavar="TEXT", help="Between several labels of a row."
    ),
    click.option(
        "--tokens",
        type=click.Choice(["byte", "char", "word", "bpe", "unigram"]),
        help="Default: words; characters of a plain text, for lm, and of unspaced scripts.",
    ),
    click.option("--max-vocabulary", type=Whole(3, 2**24), default=20_000, show_default=True),
    click.option("--length", type=Whole(1, 2**20), help="Tokens in a row, at most."),
    click.option("--keep", type=click.Choice(["start", "end"]), default="start", show_default=True),
    table_options,
    click.option(
        "--encoding-errors",
        type=click.Choice(["strict", "replace"]),
        default="strict",
        show_default=True,
        help="What to do with bytes that are no text.",
    ),
    click.option("--rejects", metavar="FILE", help="Where skipped rows go, with line and reason."),
    click.option(
        "--empty",
        type=click.Choice(["error", "drop", "keep"]),
        default="error",
        show_default=True,
        help="What to do with empty texts.",
    ),
    click.option(
        "--rare",
        type=click.Choice(["error", "drop"]),
        default="error",
        show_default=True,
        help="What to do with labels seen too few times to split.",
    ),
    click.option(
        "--unseen",
        type=click.Choice(["error", "ignore"]),
        default="error",
        show_default=True,
        help="What to do with test labels that no training row has.",
    ),
    click.option("--max-field", type=Whole(1, 2**30), default=2**20, help="Characters of a cell."),
    click.option("--dedup", is_flag=True, help="Leave out training rows that stand in test too."),
    click.option("--strict", is_flag=True, help="Refuse to cut texts."),
)

model_options = all_of(
    click.option(
        "--family", default="gru", metavar="NAME", show_default=True, help="See `howfar models`."
    ),
    click.option("--width", type=Whole(1, 2**16), help="Of the body; by default 128."),
    click.option("--parameters", type=Whole(1, 10**10), help="Of the body, in place of --width."),
    click.option("--depth", type=Whole(1, 1024), help="Blocks; by default the family's own."),
    click.option("--embedding", type=Whole(1, 2**16), help="Width of the embedding."),
    click.option(
        "--dropout", type=Real(0.0, 0.95), help="Default 0.3; 0.1 of seq2seq, 0 of lm and masked."
    ),
    click.option(
        "--set",
        "extras",
        multiple=True,
        metavar="NAME=VALUE",
        help="A setting of the family, such as kernels=3,4,5.",
    ),
    click.option(
        "--pretrain",
        type=click.Choice(["next", "denoise"]),
        help="First on the training texts alone, with as large a budget again: the next token, or "
        "hidden ones. What it took is recorded beside the training.",
    ),
)

loop_options = all_of(
    click.option(
        "--budget",
        metavar="AMOUNT",
        help='"5 epochs", "200k tokens", "500 steps", "30 seconds", "1T flops". '
        "Default: 10 epochs, at most 20M tokens.",
    ),
    click.option("--rate", type=Real(1e-8, 10.0), help="Peak learning rate."),
    click.option("--batch", "rows", type=Whole(1, 65_536), show_default="32", help="Rows."),
    click.option("--batch-tokens", type=Whole(1, 2**26), help="Tokens in a batch, not rows."),
    click.option("--pack", is_flag=True, help="Rows one after another, without padding."),
    click.option("--carry/--no-carry", default=None, help="Carry states along a running text."),
    click.option("--slots", type=Whole(1, 4096), default=1, help="Batches of one step."),
    click.option("--schedule", type=click.Choice(["cosine", "linear", "constant"])),
    click.option("--warmup", type=Real(0.0, 0.99), help="Share of the budget."),
    click.option("--clip", type=Real(1e-6, 1e9), help="Most norm of a gradient."),
    click.option("--weight-decay", type=Real(0.0, 100.0)),
    click.option("--smoothing", type=Real(0.0, 0.99), help="Of labels."),
    click.option("--balanced", is_flag=True, help="Rare classes weigh as much as common ones."),
    click.option("--evaluations", type=Whole(1, 10_000), help="Validations in the run."),
    click.option("--select", type=click.Choice(["loss", "score"]), help="The best weights by."),
    click.option("--patience", type=Whole(1, 10_000), help="Validations without a better one."),
    click.option("--precision", type=click.Choice(["float32", "bfloat16"])),
    click.option("--recompute", is_flag=True, help="Keep fewer activations, compute them again."),
    click.option("--skip-nonfinite", type=Whole(0, 10**6), help="Steps that may be left out."),
    click.option(
        "--checkpoint-every",
        type=Whole(0, 10**9),
        default=0,
        metavar="STEPS",
        help="0: at the end, and where the run is stopped.",
    ),
    click.option("--resume", is_flag=True, help="Go on where the run in --out stopped."),
    click.option("--allow-inexact", is_flag=True, help="Resume with other software or threads."),
    click.option("--overwrite", is_flag=True, help="Replace a finished model in --out."),
    click.option(
        "--parallel",
        type=click.Choice(["ddp", "fsdp"]),
        show_default="ddp",
        help="How processes of torchrun share the work.",
    ),
    click.option("--no-baselines", is_flag=True, help="Score no simple predictors."),
)
