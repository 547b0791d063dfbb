"""MLLM4Text-ReID (CVPR 2024): pre-training on generated captions whose doubtful words are masked most.

Similarity distribution matching between the image and the masked caption. How well each token of the full
caption fits the image is measured two blocks before the end of the towers, and decides in the next epoch
how likely that token is to be masked.
"""

from dataclasses import asdict, dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from tpr.config.ranges import Bytes, Count, InnerShare, NotNegative, PartialShare, Positive, PositiveShare
from tpr.config.schema import OptimOptions
from tpr.data.samples.batch import Batch
from tpr.data.samples.sample_table import LARGEST_ON_DEVICE, SampleTable, Storage
from tpr.data.samples.views import Views
from tpr.data.text.masking import mask_words
from tpr.data.text.noise_aware import average_over_words, find_probability
from tpr.errors import ConfigError
from tpr.models.architecture import Layers
from tpr.models.clip import ClipOptions
from tpr.objectives.contrastive import itc, sdm, widen
from tpr.objectives.word_fit import compare_words
from tpr.systems.base import GroupRule, Progress, Setting, StepOutput, weigh
from tpr.systems.dual_encoder import DualEncoder, find_length, find_present, gather_rows

BLOCKS_ABOVE = 2
"""Last blocks of a tower that the looked-up tokens do not pass."""


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Weights of the losses; a loss of weight 0 is not computed."""

    sdm: NotNegative = 1.0
    """Similarity distribution matching; images and captions of one identity belong together."""
    itc: NotNegative = 0.0
    """Contrast of pairs; from random weights it leads SDM off its plateau."""

    def __post_init__(self) -> None:
        if self.sdm == self.itc == 0:
            raise ConfigError("all weights are 0; give sdm or itc a weight")


@dataclass(frozen=True, kw_only=True)
class MaskNoiseOptions:
    """How the fit of words is estimated and kept; read where masking is noise_aware."""

    layer: Layers | None = None
    """Blocks that the compared tokens pass in both towers; absent: all but the last two, as published."""
    every: Count = 1
    """Captions are scored in every k-th epoch, counted from the first; in between scores stay."""
    momentum: PartialShare = 0.0
    """Share that a caption's older score keeps; 0 overwrites it, as published."""
    plain_view: bool = False
    """Score on the image without augmentation, at the cost of another pass of the image tower."""
    whole_words: bool = False
    """The tokens of a word share the mean of their scores."""
    storage: Storage = "float16"
    """How a score is kept: 2 bytes, 1 (uint8, in steps of 1/127) or 4 (float32)."""
    map_above: Bytes = LARGEST_ON_DEVICE
    """Bytes of all scores from which they lie in a mapped file, not in the device's memory."""


@dataclass(frozen=True, kw_only=True)
class Mllm4TextOptions:
    """MLLM4Text-ReID's pre-training settings."""

    losses: Losses = field(default_factory=Losses)
    """Weights of the losses."""
    temperature: Positive = 0.02
    """Softmax temperature of SDM: logits are cosine / temperature. Fixed, not learned."""
    itc_scale: Positive | None = None
    """Factor of the cosine in ITC; absent: 1 / temperature."""
    masking: Literal["noise_aware", "equal", "none"] = "noise_aware"
    """Tokens that fit the image least are masked most (equally in the first epoch), all equally, or none."""
    mask_rate: InnerShare = 0.15
    """Mean share of a caption's tokens that are masked."""
    keep_patches: PositiveShare = 1.0
    """Share of patches, drawn anew each time, that the image tower reads in training; 1 as published."""
    parity: bool = False
    """The published masking: clipping may move the mean, a caption left whole loses its first token."""
    nam: MaskNoiseOptions = field(default_factory=MaskNoiseOptions)
    """Noise-aware masking."""
    groups: Literal["single", "irra"] = "single"
    """One learning rate and decay for all, as published, or IRRA's: biases at twice the rate, not decayed."""

    def __post_init__(self) -> None:
        if self.masking != "noise_aware" and self.nam != MaskNoiseOptions():
            raise ConfigError(f"nam is read with masking=noise_aware only, masking is {self.masking}")


class Mllm4TextFeatures(NamedTuple):
    """What the towers give for one step."""

    images: Tensor
    """(B, D) pooled, not normalised."""
    texts: Tensor
    """(T, D) pooled features of the masked captions, not normalised."""
    masked: Tensor
    """(T,) share of each caption's words that is masked."""
    scores: Tensor | None
    """(T, L) what is to be remembered of each caption, where captions are scored."""


class Mllm4Text(DualEncoder):
    """CLIP pre-trained on images and captions that may name what is not there.

    Source: MLLM4Text-ReID, CVPR 2024; official `processor/processor.py` and `datasets/bases.py`. Differs: the
    full caption passes the lower blocks alone, without gradient; scores survive a resumed run; a caption that
    a sampler repeats within an epoch meets its newest score; `mask` drops the first-word rule and keeps the
    mean rate, unless `parity` is set.
    """

    Options: ClassVar[type[Any]] = Mllm4TextOptions

    def __init__(self, options: Mllm4TextOptions, model_options: ClipOptions, setting: Setting) -> None:
        super().__init__(model_options, setting)
        self.options = options
        self.loss_weights = weigh(options.losses)
        sizes, nam = self.base_model.sizes, options.nam
        self.image_blocks = choose_blocks(nam.layer, sizes.image.layers, "image")
        self.text_blocks = choose_blocks(nam.layer, sizes.text.layers, "text")
        self.scores = SampleTable(
            setting.captions, setting.text_length, storage=nam.storage, map_above=nam.map_above
        )
        if self.is_noise_aware:
            self.tables = {"scores": self.scores}

    @property
    def is_noise_aware(self) -> bool:
        """True where words are masked by how well they fit."""
        return self.options.masking == "noise_aware"

    def views(self) -> Views:
        """The image and its captions; the image once more where it is scored without augmentation."""
        return replace(super().views(), plain=self.is_noise_aware and self.options.nam.plain_view)

    def features(self, batch: Batch, progress: Progress) -> Mllm4TextFeatures:
        """Both towers over images and masked captions; full captions pass the lower blocks alone."""
        stored = self.scores.read(batch["caption_index"]) if self.is_noise_aware else None
        masked, labels = self.mask(batch, progress, stored)
        is_scoring = self.is_noise_aware and (progress.epoch - 1) % self.options.nam.every == 0
        early = self.image_blocks if is_scoring and not self.options.nam.plain_view else None
        patches = self.choose_patches(batch, progress, self.options.keep_patches)
        images = self.base_model.encode_image(batch["images"], early=early, patches=patches)
        texts = self.base_model.encode_text(masked, length=find_length(batch))
        scores = None
        if is_scoring and stored is not None:
            scores = self.update_scores(stored, self.compare(batch, images.early), batch["tokens"])
        words = self.tokenizer.find_words(batch["tokens"]).sum(dim=1).clamp(min=1)
        share = (labels > 0).sum(dim=1) / words
        return Mllm4TextFeatures(widen(images.pooled), widen(texts.pooled), share, scores)

    def mask(self, batch: Batch, progress: Progress, stored: Tensor | None) -> tuple[Tensor, Tensor]:
        """(T, L) captions with masked words, and the words that were there.

        stored: (T, L) scores of an earlier epoch; absent: every word is as likely.
        """
        tokens = batch["tokens"]
        if self.options.masking == "none":
            return tokens, torch.zeros_like(tokens)
        return mask_words(
            tokens,
            self.options.mask_rate if stored is None else self.find_probability(stored, tokens),
            caption_index=batch["caption_index"],
            seed=progress.seed,
            epoch=progress.epoch,
            mask_at_least_one=self.options.parity,
            tokenizer=self.tokenizer,
        )

    def find_probability(self, stored: Tensor, tokens: Tensor) -> Tensor:
        """(T, L) probability of each word to be masked, from its caption's stored scores."""
        return find_probability(
            stored,
            tokens,
            self.options.mask_rate,
            renormalise=not self.options.parity,
            tokenizer=self.tokenizer,
        )

    @torch.no_grad()
    def compare(self, batch: Batch, patches: Tensor | None) -> Tensor:
        """(T, K) fit of the full captions' first K positions.

        patches: (B, 1 + P, D) tokens of the images that are trained on; absent: of the plain ones.
        """
        if patches is None:
            patches = self.base_model.encode_image(batch["plain_images"], early=self.image_blocks).early
            assert patches is not None
        words = self.base_model.encode_text_early(
            batch["tokens"], self.text_blocks, length=find_length(batch)
        )
        return compare_words(words, patches[:, 1:], batch["owner"])

    def update_scores(self, stored: Tensor, found: Tensor, tokens: Tensor) -> Tensor:
        """(T, L) rows to remember: `found` (T, K), smoothed as the options say, NaN after a caption's end.

        A row is a function of its caption and image alone, however far the batch's captions were computed.
        """
        found, nam = found.float(), self.options.nam
        own = tokens[:, : found.shape[1]]
        if nam.whole_words:
            found = average_over_words(found, own, tokenizer=self.tokenizer)
        rows = torch.full_like(stored, torch.nan)
        rows[:, : found.shape[1]] = torch.where(find_present(own, None, self.tokenizer), found, torch.nan)
        if nam.momentum > 0:
            rows = torch.where(stored.isnan(), rows, nam.momentum * stored + (1 - nam.momentum) * rows)
        return rows

    def losses(self, features: Mllm4TextFeatures, batch: Batch, progress: Progress) -> StepOutput:
        """Weighted losses, and how much is masked, as shares of this rank; scores are remembered."""
        captions = self.setting.captions_per_image
        images, texts, options = features.images, features.texts, self.options
        gathered = gather_rows(images, texts, batch, captions)
        scale, losses = 1 / options.temperature, {}
        if options.losses.sdm > 0:
            identity, described = batch["identity"], batch["text_identity"]
            losses["sdm"] = sdm(images, texts, identity, scale, text_identity=described, gathered=gathered)
        if options.losses.itc > 0:
            itc_scale = options.itc_scale or scale
            losses["itc"] = itc(images, texts, itc_scale, owner=batch["owner"], gathered=gathered)
        if features.scores is not None:
            self.scores.write(
                batch["caption_index"], features.scores, samples=batch["global_size"], repeats=captions
            )
        weights = asdict(options.losses)
        return StepOutput(
            {name: weights[name] * value for name, value in losses.items()},
            {"masked_share": features.masked.sum() / len(gathered.text_identity)},
        )

    def parameter_groups(self, optim: OptimOptions) -> list[GroupRule]:
        """One group for everything, as published, or IRRA's rule for biases."""
        if self.options.groups == "single":
            return []
        return [GroupRule(pattern=r"bias", lr=2.0, weight_decay=0.0)]


def choose_blocks(layer: int | None, blocks: int, tower: str) -> int:
    """Blocks that a tower's compared tokens pass; ConfigError for more than it has."""
    if layer is None:
        return max(blocks - BLOCKS_ABOVE, 1)
    if layer > blocks:
        raise ConfigError(f"system.nam.layer={layer}: the {tower} tower has {blocks} blocks")
    return layer
