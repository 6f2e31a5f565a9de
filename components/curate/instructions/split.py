"""Which split a group belongs to: a pure function of the seed and the group's key, so it never depends on order."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

SPLITS = ("instruct", "reward", "preference", "development", "test")
"""Splits of the instruction data, in the order they are written."""


def unit_hash(seed: int, purpose: str, key: str) -> float:
    """A number in [0, 1) that looks drawn at random, the same for ever for the same three arguments."""
    digest = blake2b(f"{seed}\0{purpose}\0{key}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / 2**53  # 53 bits: what a float holds exactly, so 1.0 cannot come out


def choose_split(key: str, seed: int, shares: Mapping[str, float], rest: str, purpose: str = "split") -> str:
    """The split of ``key``: each of ``shares`` with its probability, ``rest`` otherwise."""
    position = unit_hash(seed, purpose, key)
    for split, share in shares.items():
        if position < share:
            return split
        position -= share
    return rest
