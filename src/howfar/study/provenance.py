"""Where numbers come from: versions and the machine's relevant properties; no names, no paths."""

import platform
from importlib import metadata

import torch


def provenance(threads: int) -> dict[str, str | int | float | bool]:
    """Versions and settings that can change a number."""
    return {
        "howfar": metadata.version("howfar"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": metadata.version("numpy"),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
    }
