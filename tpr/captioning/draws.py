"""Draws as pure functions of names: the same on every machine, in every order, for every shard size."""

import hashlib
import math

SEED_BITS = 31


def hash_words(*words: str | int) -> int:
    """64 bits of a hash of some words."""
    text = "\0".join(map(str, words)).encode("utf-8", "surrogateescape")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")


def draw_seed(seed: int, image: str, view: str, attempt: int) -> int:
    """The sampling seed of one attempt at one caption, below 2**31."""
    return hash_words("seed", seed, image, view, attempt) >> (64 - SEED_BITS)


def draw_template(seed: int, image: str, view: str, attempt: int, count: int) -> int:
    """The template of one attempt at one caption: drawn uniformly, later attempts take the next ones."""
    return (hash_words("template", seed, image, view) + attempt) % count


def draw_style(seed: int, image: str, view: int, attempt: int, views: int, count: int) -> int:
    """The style of one attempt at one caption, uniform over images; views: captions of an image.

    The captions of an image and their attempts walk through the styles in a stride of the image's own, so
    that two have the same style only where there are fewer styles than views x attempts.
    """
    number = hash_words("style", seed, image)
    stride = 1 + (number >> 32) % max(1, count - 1)
    while math.gcd(stride, count) > 1:
        stride = stride % count + 1
    return (number + stride * (view + views * attempt)) % count
