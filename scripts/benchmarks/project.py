"""Side B's building blocks: small corpora on disk and the project's own objects around them."""

from benchmarks.reference.towers import Architecture
from tpr.models.architecture import ClipArchitecture, ImageArchitecture, TextArchitecture
from tpr.models.clip import ClipOptions
from tpr.systems.base import Setting, System
from tpr.systems.irra import Irra, Losses, Options


def describe_towers(sizes: Architecture) -> ClipArchitecture:
    """The same towers in the project's words."""
    return ClipArchitecture(
        embed_dim=sizes.embedding,
        image=ImageArchitecture(
            width=sizes.image_width, layers=sizes.image_layers, heads=sizes.image_width // 64, patch=sizes.patch
        ),
        text=TextArchitecture(width=sizes.text_width, layers=sizes.text_layers, heads=sizes.text_width // 64),
    )


def build_irra(sizes: Architecture, identities: int, *, masked_words: bool = True) -> System:
    """System `irra` with the losses of the published recipe and towers of the given sizes."""
    options = Options(losses=Losses(sdm=1, id=1, mlm=float(masked_words)))
    setting = Setting(
        image_size=sizes.image_size, text_length=sizes.text_length, identities=identities, captions=100_000
    )
    return Irra(options, ClipOptions(architecture=describe_towers(sizes)), setting)
