"""The seed of a micro-batch's dropout masks."""

from __future__ import annotations

import hashlib


def dropout_seed(seed: int, step: int, micro: int, rank: int) -> int:
    """A function of the position alone, so that a resumed run, or a second forward pass, draws the same masks."""
    text = f"{seed}/{step}/{micro}/{rank}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=7).digest(), "big")
