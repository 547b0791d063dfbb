"""Draws as pure functions of names: the same on every machine, in every order, for every shard size."""

import hashlib

SEED_BITS = 31


def hash_words(*words: str | int) -> int:
    """64 bits of a hash of some words."""
    text = "\0".join(map(str, words)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def draw_seed(seed: int, picture: str, view: str, attempt: int) -> int:
    """The sampling seed of one attempt at one caption, below 2**31."""
    return hash_words("seed", seed, picture, view, attempt) >> (64 - SEED_BITS)


def draw_template(seed: int, picture: str, view: str, attempt: int, count: int) -> int:
    """The template of one attempt at one caption: drawn uniformly, later attempts take the next ones."""
    return (hash_words("template", seed, picture, view) + attempt) % count
