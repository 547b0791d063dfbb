"""JPEG bytes -> training image: PIL and torchvision's first transforms against uint8 slicing."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from benchmarks.inputs import draw_jpegs
from benchmarks.reference.images import training_chain
from benchmarks.report import Case, Report
from benchmarks.timing import interleave
from tpr.config.schema import AugmentOptions
from tpr.data.images.chains import CLIP_CHAIN
from tpr.data.images.reader import decode
from tpr.data.images.transforms import DeviceTransform, draw_geometry, place

SIZE = (384, 128)
BATCH = 64


def run(quick: bool) -> Report:
    """Side A ends in normalised float32; side B in uint8, and once more in normalised float32 on the CPU."""
    files = draw_jpegs(128 if quick else 1024)
    threads = torch.get_num_threads()
    pixels = np.mean([np.prod(Image.open(io.BytesIO(file)).size) for file in files])
    size = sum(map(len, files)) / len(files)
    report = Report(
        "decode",
        f"crops of {pixels:,.0f} pixels and {size / 1024:.1f} KiB -> {SIZE[0]} x {SIZE[1]}, 1 thread",
    )
    torch.set_num_threads(1)
    try:
        chain = training_chain(SIZE)
        rounds = 3 if quick else 9
        timing = interleave(
            lambda: decode_published(files, chain), lambda: decode_bytes(files), rounds=rounds
        )
        label = "float32 by PIL, uint8 for the device"
        report.cases.append(Case(label, timing, None if quick else 2.2, len(files)))
        timing = interleave(
            lambda: decode_published(files, chain), lambda: decode_whole(files), rounds=rounds
        )
        report.cases.append(Case("the same, normalised and erased on the CPU", timing, None, len(files)))
    finally:
        torch.set_num_threads(threads)
    _check_pixels(report, files)
    return report


def decode_published(files: list[bytes], chain: object) -> None:
    """The published chain, augmentation and float32 included."""
    for file in files:
        chain(Image.open(io.BytesIO(file)).convert("RGB"))  # type: ignore[operator]


def decode_bytes(files: list[bytes]) -> list[Tensor]:
    """The loader's chain: batches of placed uint8 images."""
    batches = []
    for start in range(0, len(files), BATCH):
        part = files[start : start + BATCH]
        samples = np.arange(start, start + len(part))
        geometry = draw_geometry(AugmentOptions(), samples, seed=1, epoch=1)
        frames = np.zeros((len(part), 3, *SIZE), dtype=np.uint8)
        for file, frame, row in zip(part, frames, geometry, strict=True):
            place(CLIP_CHAIN.resize(decode(file), SIZE).numpy(), frame, row)
        batches.append(torch.from_numpy(frames))
    return batches


def decode_whole(files: list[bytes]) -> None:
    """The loader's chain and what the device does after it, here on the CPU."""
    transform = DeviceTransform(AugmentOptions(), seed=1, chain=CLIP_CHAIN)
    for number, batch in enumerate(decode_bytes(files)):
        transform(batch, torch.arange(len(batch)) + number * BATCH, epoch=1)


def _check_pixels(report: Report, files: list[bytes]) -> None:
    """Decoding and resizing against PIL, in grey levels."""
    largest, total = 0, 0.0
    resizing = transforms.Resize(SIZE)
    for file in files[:128]:
        theirs = torch.from_numpy(np.array(resizing(Image.open(io.BytesIO(file)).convert("RGB")))).permute(
            2, 0, 1
        )
        difference = (CLIP_CHAIN.resize(decode(file), SIZE).int() - theirs.int()).abs()
        largest = max(largest, int(difference.max()))
        total += float(difference.float().mean())
    found = f"{largest}, mean {total / min(len(files), 128):.4f}"
    report.check("at most one grey level from PIL's decoding and resizing", largest <= 1, found)
