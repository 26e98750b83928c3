"""`howfar export`: a kept model as one file for other programs."""

import click

from howfar.cli.options import Whole, all_of

export_options = all_of(
    click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout."),
    click.option("--threads", type=Whole(1, 256), default=1, show_default=True, help="Of torch."),
    click.option("--debug", is_flag=True, help="Show the traceback of an error."),
)


@click.command("export", short_help="Write a kept model for torch.export or ONNX.")
@click.argument("model", metavar="MODEL")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["torch", "onnx"]),
    help="A .pt2 of torch.export, or ONNX (pip install 'howfar[onnx]'). Default: as the ending of "
    "--out says, .pt2 or .onnx; else torch.",
)
@click.option("--out", required=True, metavar="FILE", help="Where the file goes.")
@export_options
def export_command(
    model: str, kind: str | None, out: str, as_json: bool, threads: int, debug: bool
) -> int:
    """Write the model in the folder MODEL as one file, for any batch and length.

    The file is asked beside the model before it is put in its place. It takes tokens (B, L) and
    lengths (B,), whole numbers of 64 bits, padded on the right. It gives logits of classes, labels,
    tags or tokens; of regression the number itself, in the units of the data, as `howfar predict`
    does. ONNX runs in onnxruntime, a .pt2 by torch.export.load.
    """
    import torch

    from howfar.bundle.export import export
    from howfar.bundle.load import load
    from howfar.cli.write import document, result
    from howfar.core.errors import shown

    torch.set_num_threads(threads)
    found = export(load(model), out, format=kind)  # type: ignore[arg-type]
    longest = max(length for _, length in found.checked)
    if as_json:
        told = {"path": str(found.path), "format": found.format, "checked": found.checked}
        document(told | {"largest_difference": found.largest_difference})
        return 0
    result(
        f"{shown(str(found.path))}: {found.format}, any batch and length. Asked at"
        f" {len(found.checked)} shapes up to {longest:,} tokens, it differs from the model by at"
        f" most {found.largest_difference:.1e}."
    )
    return 0
