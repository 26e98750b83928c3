"""Random streams by seed and purpose, without torch.

Idea     the streams of `howfar.core.seeds.Seeds`: SHA-256 of seed and purpose keys a Philox
Why      reading, tokenising and splitting must not need torch; a test holds the two equal
"""

import hashlib

import numpy as np


def generator(seed: int, purpose: str) -> np.random.Generator:
    """A fresh Philox generator that depends on `seed` and `purpose` alone."""
    digest = hashlib.sha256(f"howfar/{seed}/{purpose}".encode()).digest()
    return np.random.Generator(np.random.Philox(int.from_bytes(digest[:8], "little") >> 1))
