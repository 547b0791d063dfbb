"""The table of image operations, and what the workers do to a batch of training images."""

from collections.abc import Sequence

from torch import Tensor

from tpr.config.augment import AugmentOptions
from tpr.data.images.operation import Operation
from tpr.data.images.rand_augment import RandAugment
from tpr.data.images.transforms import draw_geometry, place
from tpr.data.samples.randomness import Purpose, uniform_rows
from tpr.data.tables.corpus import IndexArray

OPERATIONS: dict[str, type[Operation]] = {"rand_augment": RandAugment}


def augment_images(
    images: Sequence[Tensor],
    frames: Tensor,
    augment: AugmentOptions,
    samples: IndexArray,
    *,
    seed: int,
    epoch: int,
    view: int = 0,
) -> None:
    """Write resized images into their black frames: mirrored, moved, then changed by the listed operations.

    images: (3, H, W) uint8 each. frames: (B, 3, H, W) uint8. view: which of a sample's images they are.
    """
    geometry = draw_geometry(augment, samples, seed=seed, epoch=epoch, view=view)
    for image, frame, move in zip(images, frames.numpy(), geometry, strict=True):
        place(image.numpy(), frame, move)
    operations = [OPERATIONS[choice.name](choice.options) for choice in augment.operations]
    needed = sum(operation.draws for operation in operations)
    drawn = uniform_rows(seed, epoch, Purpose.OPERATION, samples, needed * (view + 1))[:, needed * view :]
    for operation in operations:
        for frame, row in zip(frames, drawn, strict=True):
            frame.copy_(operation.apply(frame, row[: operation.draws]))
        drawn = drawn[:, operation.draws :]
