"""Every system's step is compiled whole, and soon no more: what changes from step to step stays outside."""

import pytest
import torch
from torch._dynamo.utils import counters

from tests.systems.every_system import ROWS
from tests.systems.small_systems import make_batch
from tpr.data.images.patches import draw_patches
from tpr.data.text.masking import mask_words
from tpr.data.text.text_augment import augment_captions
from tpr.data.text.tokens import CLIP_TOKENIZER
from tpr.systems import SYSTEMS
from tpr.systems.base import Progress

CHOSEN = (
    "irra_every_loss",
    "irra_fast",
    "mllm4text_noise_aware",
    "rde_tal",
    "tvi_lfm_base",
    "tvi_lfm_every_loss",
)
"""Rows that between them run every part of a step."""
STEPS, STEPS_PER_EPOCH, SETTLED = 20, 5, 15
MOST_GRAPHS = 6
"""The first one, and those of both lengths: in the first epoch, in any, and in epochs of another kind."""


@pytest.fixture(autouse=True)
def forget_graphs():
    torch.compiler.reset()
    counters.clear()
    yield
    torch.compiler.reset()
    counters.clear()


def test_every_system_is_compiled() -> None:
    assert {ROWS[name].system for name in CHOSEN} == set(SYSTEMS)


@pytest.mark.slow
@pytest.mark.parametrize("name", CHOSEN)
def test_a_step_is_one_graph_whatever_the_captions_and_the_epoch(name: str) -> None:
    row = ROWS[name]
    # Without code of its own: tracing alone decides what is one graph, and which numbers it stands for.
    model = torch.compile(row.make(), backend="eager", fullgraph=True)
    counts = []
    for step in range(STEPS):
        batch = row.make_batch()
        batch["longest_caption"] = 9 + step * 5 % 15
        if "longest_infrared_caption" in batch:
            batch["longest_infrared_caption"] = 12 + step * 5 % 12
        progress = Progress(seed=1, epoch=1 + step // STEPS_PER_EPOCH, step=step)
        losses = model(batch, progress).losses
        if step == 0:
            for loss, value in row.make()(batch, progress).losses.items():
                torch.testing.assert_close(losses[loss], value)
        counts.append(counters["stats"]["unique_graphs"])
    assert not counters["graph_break"]
    assert counts[-1] == counts[SETTLED - 1] <= MOST_GRAPHS, counts


@pytest.mark.slow
def test_compiled_draws_are_those_of_eager_code_in_every_epoch() -> None:
    batch = make_batch()

    def draw(tokens, index, progress):
        place = {"seed": progress.seed, "epoch": progress.epoch}
        text = {"caption_index": index, "tokenizer": CLIP_TOKENIZER, **place}
        masked, labels = mask_words(tokens, 0.15, **text)
        changed = augment_captions(tokens, 0.3, **text)
        return masked, labels, changed, draw_patches(index, 192, 0.5, **place)

    compiled = torch.compile(draw)
    for epoch in (1, 2, 3, 40, -3):
        words = batch["tokens"], batch["caption_index"], Progress(seed=2**40 + 7, epoch=epoch, step=0)
        for found, expected in zip(compiled(*words), draw(*words), strict=True):
            assert torch.equal(found, expected), epoch
