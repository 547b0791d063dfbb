"""Images as published: PIL and torchvision's first transforms, normalised float32 out of every worker."""

from typing import Any

from PIL import Image
from torchvision import transforms

MEAN = (0.48145466, 0.4578275, 0.40821073)
DEVIATION = (0.26862954, 0.26130258, 0.27577711)


def training_chain(size: tuple[int, int]) -> Any:
    """Resize, flip, pad black, crop, normalise, erase; the published fill comes after normalisation."""
    return transforms.Compose(
        [
            transforms.Resize(size),
            transforms.RandomHorizontalFlip(0.5),
            transforms.Pad(10),
            transforms.RandomCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(mean=MEAN, std=DEVIATION),
            transforms.RandomErasing(scale=(0.02, 0.4), value=MEAN),
        ]
    )


def test_chain(size: tuple[int, int]) -> Any:
    """Resize and normalise."""
    return transforms.Compose(
        [transforms.Resize(size), transforms.ToTensor(), transforms.Normalize(mean=MEAN, std=DEVIATION)]
    )


def read_image(path: str) -> Image.Image:
    """One file as RGB; the published reader also retries a broken one, without end."""
    while True:
        try:
            return Image.open(path).convert("RGB")
        except OSError as problem:
            if isinstance(problem, FileNotFoundError):
                raise
