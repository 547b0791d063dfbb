"""Images of every format that is read."""

import io
from pathlib import Path
from random import Random

import numpy as np
import torch
from PIL import Image

from fuzzing.damage import damage
from fuzzing.verdict import Kind, Verdict
from tpr.data.images.reader import decode

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MODES = {"JPEG": ("RGB", "L", "CMYK"), "PNG": ("RGB", "RGBA", "P", "L"), "TIFF": ("RGB", "L")}


def encode(format_name: str, mode: str) -> bytes:
    """A small image of noise."""
    noise = np.random.RandomState(0).randint(0, 255, (24, 12, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(file, format_name)
    return file.getvalue()


class Images(Kind):
    """Damaged pixels are other pixels: nothing in an image file says what they were."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.originals = [encode(name, mode) for name in FORMATS for mode in MODES.get(name, ("RGB",))]
        self.pixels = [decode(original) for original in self.originals]

    def attempt(self, random: Random) -> Verdict:
        """Decode a damaged image."""
        chosen = random.randrange(len(self.originals))
        pixels = decode(damage(self.originals[chosen], random), max_pixels=1_000_000)
        return Verdict.SAME if torch.equal(pixels, self.pixels[chosen]) else Verdict.OTHER
