"""A run that is to go on, where its model is finished already: is it the same run?"""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from howfar.bundle.again import check_same
from howfar.bundle.load import load
from howfar.bundle.opening import CorpusOptions, open_corpus
from howfar.bundle.recipe import Recipe


def check_finished(
    source: Any,  # noqa: ANN401 - as `train_file`
    aim: Any,  # noqa: ANN401 - likewise
    folder: Path,
    *,
    reading: CorpusOptions,
    recipe: Recipe,
) -> None:
    """Refuse to resume a finished model of another run. The data is read, nothing is trained.

    Args:
        source: what would be trained on.
        aim: what would be learned.
        folder: where the finished model stands.
        reading: how the source is read.
        recipe: what would be trained.

    Raises:
        StoreError: E-OTHER-RUN; the model is damaged. HowfarError: the data cannot be read.
    """
    bundle = load(folder)
    with tempfile.TemporaryDirectory(prefix="howfar-") as beside:  # what a large text needs
        how = replace(reading, seed=recipe.seed, folder=Path(beside) / "tokens", rejects=None)
        check_same(bundle, open_corpus(source, aim, how), recipe, folder)
