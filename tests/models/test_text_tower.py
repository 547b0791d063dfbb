"""The text tower alone reads as the same tower within a CLIP does."""

import torch

from tests.systems.small_systems import CAPTIONS, SMALL
from tpr.data.text.tokens import tokenize
from tpr.models import ClipOptions, ClipTowers, fit_state
from tpr.models.text_tower import TextTower, stretch_columns


@torch.no_grad()
def test_alone_it_gives_what_it_gives_within_a_clip():
    clip = ClipTowers(ClipOptions(architecture=SMALL), image_size=(32, 16), text_length=24)
    tower = TextTower(SMALL.text, output=SMALL.embed_dim, text_length=24, quick_gelu=SMALL.quick_gelu)
    own = tower.state_dict()
    report = fit_state(tower, {k: v for k, v in clip.state_dict().items() if k in own}, minimum_share=1.0)
    assert not report.missing and not report.resized
    tokens = tokenize(CAPTIONS, 24)
    one = clip.encode_text(tokens, every_token=True, early=1, attention=True)
    two = tower.encode_text(tokens, every_token=True, early=1, attention=True)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


@torch.no_grad()
def test_more_positions_and_columns_than_the_file_has_are_made_up():
    torch.manual_seed(1)
    stored = TextTower(SMALL.text, output=32, text_length=24, quick_gelu=True).state_dict()
    tower = TextTower(SMALL.text, output=48, text_length=30, quick_gelu=True)
    report = fit_state(tower, stored, minimum_share=1.0)
    assert report.resized == {"positional_embedding": "24 -> 30", "text_projection": "32 -> 48 columns"}
    assert (
        "text positional embedding resized 24 -> 30; text_projection resized 32 -> 48 columns"
        in report.render()
    )
    assert torch.equal(tower.text_projection, stretch_columns(stored["text_projection"], 48))


def test_stretched_columns_keep_the_ends_and_the_mean_of_a_row():
    rows = torch.tensor([[1.0, 3, 5, 7], [2, 2, 2, 2]])
    stretched = stretch_columns(rows, 8)
    assert stretched.tolist() == [[1, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7], [2] * 8]
    assert stretched.dtype == torch.float32
