"""Whether styles say anything: how much likelier a human's words are in their own style than in another."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from tpr import distributed
from tpr.captioning.draws import hash_words
from tpr.captioning.engines.captioners import ChatCaptioner
from tpr.captioning.styles.batches import make_batch
from tpr.captioning.styles.examples import Example
from tpr.captioning.styles.model import StyledModel

MOST_MEASURED = 512
BITS = 64


class Gap(NamedTuple):
    """Mean negative log-likelihood per token of some captions that were not learned."""

    captions: int
    own: float
    other: float


def hold_out(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """What is learned and what is measured: all captions of an image are on one side."""
    limit = int(share * 2**BITS)
    held = {image for image in {e.image for e in examples} if hash_words("held out", seed, image) < limit}
    return [e for e in examples if e.image not in held], [e for e in examples if e.image in held]


def choose_other(example: Example, styles: int) -> Example:
    """The same caption in another style, the same one each time."""
    step = 1 + hash_words("other", example.image, example.style) % (styles - 1)
    return example._replace(style=(example.style + step) % styles)


@torch.no_grad()
def measure_gap(
    model: StyledModel,
    captioner: ChatCaptioner,
    held: Sequence[Example],
    *,
    root: Path,
    part: int,
    longest_caption: int,
) -> Gap | None:
    """Over at most MOST_MEASURED captions, shared over processes; None where there is nothing to compare."""
    styles = model.rows.styles
    chosen = held[:: -(-len(held) // MOST_MEASURED) or 1]
    if not chosen or styles < 2:
        return None
    own = chosen[distributed.local_slice(len(chosen))]
    sums = torch.zeros(3, dtype=torch.float64, device=next(iter(model.trained.values())).device)
    model.eval()
    for start in range(0, len(own), part):
        for place, examples in enumerate(
            (own[start : start + part], [choose_other(e, styles) for e in own[start : start + part]])
        ):
            batch = make_batch(captioner, examples, root, longest_caption)
            sums[place] += model.compute(batch)
            sums[2] += 0 if place else batch.label_count
    model.train()
    total = distributed.sum_over_ranks(sums)
    return Gap(len(chosen), float(total[0] / total[2]), float(total[1] / total[2]))
