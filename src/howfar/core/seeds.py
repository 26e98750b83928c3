"""One seed, one independent stream a purpose: what is drawn for one never moves another."""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, slots=True)
class Seeds:
    """Random streams by purpose: `Seeds(17).torch("init")`, `Seeds(17).numpy("bootstrap")`."""

    seed: int

    def integer(self, purpose: str) -> int:
        """A 63-bit integer that depends on the seed and the purpose alone."""
        digest = hashlib.sha256(f"howfar/{self.seed}/{purpose}".encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    def torch(self, purpose: str, device: str = "cpu") -> torch.Generator:
        """A fresh torch generator for this purpose."""
        generator = torch.Generator(device)
        generator.manual_seed(self.integer(purpose))
        return generator

    def numpy(self, purpose: str) -> np.random.Generator:
        """A fresh numpy generator (Philox) for this purpose."""
        return np.random.Generator(np.random.Philox(self.integer(purpose)))
