"""Systems and batches small enough to train in a test."""

import torch

from tpr.data.samples.batch import Batch
from tpr.data.text.tokens import tokenize
from tpr.models import ClipArchitecture, ClipOptions, ImageArchitecture, TextArchitecture
from tpr.models.two_stream import TwoStreamOptions
from tpr.systems.base import Progress, Setting
from tpr.systems.irra import Irra, IrraOptions, Losses
from tpr.systems.tvi_lfm import TviLfm
from tpr.systems.tvi_lfm_options import TviLfmOptions

SMALL = ClipArchitecture(
    embed_dim=16,
    image=ImageArchitecture(width=32, layers=2, heads=2, patch=16),
    text=TextArchitecture(width=16, layers=2, heads=2, context=24),
)
SMALL_STREAMS = TwoStreamOptions(layers=(1, 1, 1, 1), width=4, text=SMALL.text)
BASE_ROWS = {"rows": ("visible", "infrared"), "visual": "trained"}
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
    """Random images with real captions; two of each three images share an identity."""
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


def make_tvi_lfm(options=None, *, setting=SETTING, model=SMALL_STREAMS, seed=0):
    """A small TVI-LFM with fresh weights that follow the seed."""
    torch.manual_seed(seed)
    return TviLfm(options or TviLfmOptions(), model, setting)


def make_slots(people=(0, 0, 1, 1, 2, 2), seed=3, size=(64, 32)):
    """Random images of both kinds with real captions; an infrared image's is another one."""
    generator = torch.Generator().manual_seed(seed)
    slots = len(people)
    first, second, infrared = torch.randn((3, slots, 3, *size), generator=generator)
    identity = torch.tensor(people)
    return Batch(
        images=first,
        second_images=second,
        infrared_images=infrared,
        tokens=tokenize([CAPTIONS[i % 6] for i in range(slots)], SETTING.text_length),
        infrared_tokens=tokenize([CAPTIONS[(i + 2) % 6] for i in range(slots)], SETTING.text_length),
        identity=identity,
        text_identity=identity,
        owner=torch.arange(slots),
        sample_index=torch.arange(slots),
        image_index=torch.arange(slots),
        infrared_index=torch.arange(slots),
        caption_index=torch.arange(slots),
        longest_caption=17,
        longest_infrared_caption=20,
        global_size=slots,
    )
