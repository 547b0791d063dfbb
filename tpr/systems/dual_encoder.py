"""What systems on CLIP's two towers share: encoding, retrieval by cosine, gathered rows.

A system that is a dual encoder holds its towers as `base_model`, the name that IRRA, MLLM4Text-ReID and
HAM gave them in their checkpoints.
"""

import logging
from typing import Any, ClassVar

import torch
from torch import Tensor

from tpr import distributed
from tpr.config.schema import InitOptions
from tpr.data.images.patches import draw_patches
from tpr.data.samples.batch import Batch
from tpr.data.samples.views import Views
from tpr.data.text.tokenizer import Tokenizer
from tpr.models.clip import ClipOptions, ClipTowers
from tpr.models.download import find_weights
from tpr.models.fitting import LoadReport, fit_state
from tpr.models.text_tower import round_length
from tpr.models.weights import read_checkpoint
from tpr.objectives.contrastive import Gathered, normalise, widen
from tpr.systems.base import Progress, Setting, Side, System
from tpr.systems.clip_official import ClipOfficial, take_towers
from tpr.systems.official import Official

logger = logging.getLogger(__name__)


class DualEncoder(System):
    """An image tower and a text tower with a joint space; scores are cosines of pooled features."""

    ModelOptions: ClassVar[type[Any]] = ClipOptions
    official: ClassVar[Official] = ClipOfficial()

    def __init__(self, model_options: ClipOptions, setting: Setting) -> None:
        super().__init__(setting)
        self.model_options = model_options
        self.tokenizer = model_options.tokenizer
        self.base_model = ClipTowers(
            model_options, image_size=setting.image_size, text_length=setting.text_length
        )

    def load_published(self, init: InitOptions) -> None:
        """The towers' weights, unless those of a checkpoint replace them."""
        if self.model_options.weights is not None and init.checkpoint is None:
            self.load_towers(init.minimum_share)

    def load_towers(self, minimum_share: float) -> LoadReport:
        """Takes the towers' weights from what `model.weights` names; logs and returns the report."""
        path = find_weights(self.model_options)
        towers = take_towers(self.official.rename(read_checkpoint(path).state))
        report = fit_state(self.base_model, towers, minimum_share=minimum_share, source=str(path))
        logger.info("%s: %s", path, report.render())
        return report

    def views(self) -> Views:
        """The image and its captions, images as the towers take them."""
        return Views(chain=self.model_options.chain, tokenizer=self.tokenizer)

    def encode(self, batch: Batch, side: Side) -> Tensor:
        """(N, D) unit vectors in float32 (float64 where the weights are)."""
        if side == "image":
            return normalise(widen(self.base_model.encode_image(batch["images"]).pooled))
        length = find_length(batch)
        return normalise(widen(self.base_model.encode_text(batch["tokens"], length=length).pooled))

    def choose_patches(self, batch: Batch, progress: Progress, share: float) -> Tensor | None:
        """(B, K) patches that a training step reads of each image; None: all of them."""
        if share == 1:
            return None
        rows, columns = self.base_model.grid
        return draw_patches(
            batch["sample_index"], rows * columns, share, seed=progress.seed, epoch=progress.epoch
        )


def find_length(batch: Batch) -> int | None:
    """Token positions that the batch's captions need, where the loader has counted them on the host."""
    longest = batch.get("longest_caption")
    return None if longest is None else round_length(longest, batch["tokens"].shape[1])


def find_present(tokens: Tensor, length: int | None, tokenizer: Tokenizer) -> Tensor:
    """(T, length) True from start to end token of (T, L) captions; absent length: L."""
    places = torch.arange(length or tokens.shape[1], device=tokens.device)
    return places <= tokenizer.find_ends(tokens)[:, None]


def gather_rows(
    image_features: Tensor, text_features: Tensor, batch: Batch, captions_per_image: int
) -> Gathered:
    """All ranks' features and identities, gathered once for all objectives of a step."""
    samples = batch["global_size"]
    start = distributed.local_slice(samples).start
    return Gathered(
        image_features=distributed.gather(image_features, samples),
        text_features=distributed.gather(text_features, samples, captions_per_image),
        identity=distributed.gather(batch["identity"], samples),
        text_identity=distributed.gather(batch["text_identity"], samples, captions_per_image),
        image_start=start,
        text_start=start * captions_per_image,
    )
