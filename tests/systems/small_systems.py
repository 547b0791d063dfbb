"""Systems and batches small enough to train in a test."""

import torch

from tpr.data.batch import Batch
from tpr.data.tokens import tokenize
from tpr.models import ClipArchitecture, ClipOptions, ImageArchitecture, TextArchitecture
from tpr.systems.base import Progress, Setting
from tpr.systems.irra import Irra, IrraOptions, Losses

SMALL = ClipArchitecture(
    embed_dim=32,
    image=ImageArchitecture(width=32, layers=2, heads=2, patch=16),
    text=TextArchitecture(width=32, layers=2, heads=2, context=24),
)
SETTING = Setting(image_size=(64, 32), text_length=24, identities=5, captions=8)
FIRST = Progress(seed=1, epoch=1, step=0)
EVERY_LOSS = Losses(sdm=1, id=1, mlm=1, itc=1, cmpm=1)
CAPTIONS = [
    "a man in a red shirt and blue jeans",
    "a woman with a black bag",
    "an old man wearing a grey coat and a hat",
    "a girl in a white dress carrying a yellow umbrella and a brown handbag",
    "the person wears a green jacket, black trousers and white shoes",
    "a boy with a cap",
]


def make_irra(options=None, *, setting=SETTING, architecture=SMALL, seed=0, **model):
    """A small IRRA with fresh weights that follow the seed."""
    torch.manual_seed(seed)
    options = options or IrraOptions(losses=EVERY_LOSS, temperature=0.1)
    return Irra(options, ClipOptions(architecture=architecture, **model), setting)


def make_batch(captions_per_image=1, images=6, seed=3, size=(64, 32)):
    """Random pictures with real captions; two of each three pictures share an identity."""
    generator = torch.Generator().manual_seed(seed)
    texts = [CAPTIONS[i % len(CAPTIONS)] for i in range(images * captions_per_image)]
    identity = torch.tensor([[0, 1, 0, 2, 3, 1, 4][i % 7] for i in range(images)])
    owner = torch.arange(images).repeat_interleave(captions_per_image)
    return Batch(
        images=torch.randn((images, 3, *size), generator=generator),
        tokens=tokenize(texts, SETTING.text_length),
        identity=identity,
        text_identity=identity[owner],
        owner=owner,
        sample_index=torch.arange(images),
        image_index=torch.arange(images),
        caption_index=torch.arange(len(texts)),
        global_size=images,
    )
