"""Inputs every benchmark draws from a seed: JPEG crops, captions, features. No dataset is needed.

Crops are 1/f texture, 128 to 400 pixels high, about 26,000 pixels and 9 KiB on average at quality 90, the
size of the benchmarks' images; captions have about 33 tokens with start and end.
"""

import io

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

OPENINGS = ("A man", "The woman", "A young girl", "This person", "An elderly lady", "The pedestrian")
PARTS = (
    "is wearing a {c} {u} with long sleeves",
    "has on {c} {l} that reach the knees",
    "carries a {c} backpack over the left shoulder",
    "wears a pair of {c} shoes with white soles",
    "has short {c} hair and glasses",
    "is holding a {c} mobile phone",
    "walks away from the camera beside a {c} bicycle",
    "is dressed in a {c} {u} and a pair of {c} {l}",
)
COLOURS = ("red", "dark blue", "grey", "black", "light-coloured", "white", "green", "plaid", "striped")
UPPERS = ("t-shirt", "hooded jacket", "down coat", "sweater", "blouse", "shirt")
LOWERS = ("jeans", "trousers", "shorts", "pants", "leggings")

Pixels = npt.NDArray[np.uint8]


def draw_caption(random: np.random.Generator) -> str:
    """One English caption of three clauses or so."""
    clauses = []
    for index in random.permutation(len(PARTS))[: random.integers(2, 5)]:
        choice = {"c": random.choice(COLOURS), "u": random.choice(UPPERS), "l": random.choice(LOWERS)}
        clauses.append(PARTS[index].format(**choice))
    return f"{random.choice(OPENINGS)} {', '.join(clauses)}."


def draw_captions(count: int, seed: int = 1) -> list[str]:
    """`count` captions; many repeat words, few repeat whole."""
    random = np.random.default_rng(seed)
    return [draw_caption(random) for _ in range(count)]


def draw_image(random: np.random.Generator) -> Pixels:
    """(H, W, 3) texture whose spectrum falls with frequency, as in photographs."""
    height = int(random.integers(128, 401))
    width = max(40, int(height * random.uniform(0.27, 0.43)))
    rows = np.fft.fftfreq(height)[:, None]
    columns = np.fft.rfftfreq(width)[None, :]
    amplitude = np.maximum(np.hypot(rows, columns), 1 / max(height, width)) ** -1.35
    shared = _texture(random, amplitude, (height, width))
    channels = [0.9 * shared + 0.25 * _texture(random, amplitude, (height, width)) for _ in range(3)]
    return np.clip(np.stack(channels, -1) * 33 + 120, 0, 255).astype(np.uint8)


def _texture(
    random: np.random.Generator, amplitude: npt.NDArray[np.float64], size: tuple[int, int]
) -> npt.NDArray[np.float64]:
    phase = random.standard_normal(amplitude.shape) + 1j * random.standard_normal(amplitude.shape)
    texture = np.fft.irfft2(amplitude * phase, s=size)
    return np.asarray((texture - texture.mean()) / texture.std())


def draw_jpegs(count: int, seed: int = 1) -> list[bytes]:
    """`count` JPEG files in memory."""
    random = np.random.default_rng(seed)
    files = []
    for _ in range(count):
        buffer = io.BytesIO()
        Image.fromarray(draw_image(random)).save(buffer, "JPEG", quality=90)
        files.append(buffer.getvalue())
    return files


def draw_features(
    queries: int, gallery: int, identities: int, *, width: int = 512, seed: int = 1
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(queries, gallery, query identities, gallery identities): noise around one centre per identity."""
    generator = torch.Generator().manual_seed(seed)
    gallery_identity = torch.arange(gallery) % identities
    query_identity = torch.randint(0, identities, (queries,), generator=generator)
    centres = torch.randn(identities, width, generator=generator)
    sides = []
    for labels in (query_identity, gallery_identity):
        noise = torch.randn(len(labels), width, generator=generator)
        sides.append(functional.normalize(noise + 0.35 * centres[labels], dim=1))
    return sides[0], sides[1], query_identity, gallery_identity


def draw_tied_features(count: int, *, width: int = 512, seed: int = 1) -> Tensor:
    """(count, width) rows of 16 entries of +-1: products are exact in any order and tie by thousands."""
    random = np.random.default_rng(seed)
    places = np.argpartition(random.random((count, width), dtype=np.float32), 16, axis=1)[:, :16]
    rows = np.zeros((count, width), dtype=np.float32)
    np.put_along_axis(rows, places, random.choice([-1.0, 1.0], size=places.shape).astype(np.float32), 1)
    return torch.from_numpy(rows)
