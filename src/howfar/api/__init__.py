"""What a script calls: `howfar.reach`, `howfar.train`, `howfar.load` and the rest.

Idea     thin functions over the rooms; the names and shapes here are what users' code relies on.
         `HOMES` says where each one lives, and only that file is loaded when it is asked for
"""

import gc
from importlib import import_module
from typing import Any

HOMES = {
    "Compared": "howfar.api.comparing",
    "TextClassifier": "howfar.api.estimator",
    "attention": "howfar.api.measures",
    "audit": "howfar.api.measures",
    "build": "howfar.models",
    "build_seq2seq": "howfar.models",
    "compare": "howfar.api.comparing",
    "context": "howfar.api.measures",
    "demand": "howfar.api.comparing",
    "families": "howfar.api.families",
    "fragments": "howfar.api.measures",
    "gradient": "howfar.api.measures",
    "influence": "howfar.api.measures",
    "interaction": "howfar.api.measures",
    "length_by_depth": "howfar.study.maps",
    "load": "howfar.api.bundles",
    "reach": "howfar.api.measures",
    "retention": "howfar.api.measures",
    "structure": "howfar.api.measures",
    "task": "howfar.tasks",
    "tasks": "howfar.tasks",
    "train": "howfar.api.training",
}


def fetch(name: str) -> Any:  # noqa: ANN401 - anything public
    """Import what `HOMES` names.

    The garbage collector rests meanwhile: among the modules of torch it finds nothing, in a sixth
    of the time that the import takes. What was imported then counts as old, so that the next
    collection of young objects does not go through it.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        return getattr(import_module(HOMES[name]), name)
    finally:
        if gc.get_freeze_count() == 0:
            gc.freeze()
            gc.unfreeze()
        if collecting:
            gc.enable()
