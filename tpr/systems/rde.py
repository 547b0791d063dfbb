"""RDE (CVPR 2024): learning from noisy pairs with two embeddings that judge which pairs are clean.

Every image and every caption has a global embedding and one of its most attended tokens. Before each
epoch the losses of both divide the training pairs (confident consensus division), and the epoch trains on
the clean ones. Retrieval is by the mean of both cosines.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from tpr import distributed
from tpr.config.ranges import NotNegative, Positive, PositiveShare, Range, Share
from tpr.config.schema import OptimOptions
from tpr.data.samples.batch import Batch
from tpr.data.text.text_augment import augment_captions
from tpr.models.clip import ClipOptions
from tpr.models.token_selection import TokenSelection, select_patches, select_words
from tpr.objectives.consensus import Division, DivisionOptions
from tpr.objectives.contrastive import normalise, widen
from tpr.objectives.per_pair import PairLabels, PairLoss, PairObjective, loss_per_pair
from tpr.systems.base import EpochContext, GroupRule, Progress, Setting, Side, StepOutput
from tpr.systems.clip_official import ClipOfficial
from tpr.systems.dual_encoder import DualEncoder, find_length, gather_rows
from tpr.systems.official import Official

NEVER_USED = re.compile(r"^visul_emb_layer\.linear\.|_selection\.bns\.1\.")
"""Parameters of official checkpoints that no forward pass of the official code reads: dropped."""


@dataclass(frozen=True, kw_only=True)
class RdeOptions:
    """RDE's settings; the defaults are the published ones, except `norm`."""

    loss: PairLoss = "tal"
    """Loss of a pair: tal and trl are summed over clean pairs, infonce and sdm averaged."""
    tau: Positive = 0.015
    """Temperature of TAL and TRL."""
    margin: NotNegative = 0.1
    """Margin of TAL and TRL."""
    temperature: Positive = 0.02
    """Softmax temperature of InfoNCE and SDM."""
    select_ratio: PositiveShare = 0.3
    """Share of tokens that are selected."""
    selected_width: Annotated[int, Range(2, 16384)] = 1024
    """Width of the selected tokens' embedding."""
    norm: Literal["train", "frozen"] = "train"
    """Batch norm of the selection layers; frozen, as in all published runs: it never learns statistics."""
    augment_text: Share = 0.2
    """Share of words that are masked, replaced or deleted in training captions."""
    selection_lr: NotNegative = 1e-3
    """Learning rate of the selection layers before the schedule, whatever `optim.lr`."""
    bias_lr: NotNegative = 2.0
    """Factor of the towers' learning rate for biases, which are not decayed."""
    division: DivisionOptions = field(default_factory=DivisionOptions)
    """Which pairs are trained on."""


class RdeFeatures(NamedTuple):
    """Global and selected-token embedding side by side, none normalised: D + S columns."""

    images: Tensor
    """(B, D + S)."""
    texts: Tensor
    """(T, D + S)."""


class RdeOfficial(ClipOfficial):
    """IRRA's layout with selection layers."""

    mark: ClassVar[str | None] = "image_selection.shortcut.weight"
    names: ClassVar[Mapping[str, str]] = {
        r"^visul_emb_layer\.fc\.": "image_selection.shortcut.",
        r"^visul_emb_layer\.mlp\.": "image_selection.",
        r"^texual_emb_layer\.linear\.": "text_selection.shortcut.",
        r"^texual_emb_layer\.mlp\.": "text_selection.",
        r"_selection\.layers\.0\.": "_selection.enter.",
        r"_selection\.layers\.1\.": "_selection.leave.",
        r"_selection\.bns\.0\.": "_selection.norm.",
    }

    def rename(self, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Official names -> ours, without what is never used."""
        return {n: value for n, value in super().rename(stored).items() if not NEVER_USED.search(n)}

    def options(self, state: Mapping[str, Tensor]) -> RdeOptions:
        """Options of a checkpoint; the ratio is not in it and is the published one."""
        return RdeOptions(selected_width=len(state["image_selection.shortcut.weight"]))


class Rde(DualEncoder):
    """CLIP with two embeddings per side, trained on pairs that both embeddings judge clean."""

    Options: ClassVar[type[Any]] = RdeOptions
    official: ClassVar[Official] = RdeOfficial()

    def __init__(self, options: RdeOptions, model_options: ClipOptions, setting: Setting) -> None:
        super().__init__(model_options, setting)
        self.options = options
        width, selected = self.base_model.sizes.embed_dim, options.selected_width
        is_frozen = options.norm == "frozen"
        self.widths = [width, selected]
        self.image_selection = TokenSelection(width, selected, is_frozen=is_frozen)
        self.text_selection = TokenSelection(width, selected, is_frozen=is_frozen)
        self.patches = count_selected(math.prod(self.base_model.grid), options.select_ratio)
        self.words = count_selected(setting.text_length - 2, options.select_ratio)
        self.objective = PairObjective(
            loss=options.loss, tau=options.tau, margin=options.margin, scale=1 / options.temperature
        )
        self.division = Division(options.division, setting.captions)
        self.loss_weights = {"global": 1.0, "selected": 1.0}
        # Losses of both embeddings (captions, 2), and the mark of each pair (captions, 1): 1 is clean.
        self.tables = {"pair_losses": self.division.losses, "clean_marks": self.division.marks}

    def features(self, batch: Batch, progress: Progress) -> RdeFeatures:
        """Both embeddings of images and augmented captions."""
        return self.embed(batch, progress, augment=True)

    def embed(self, batch: Batch, progress: Progress, *, augment: bool) -> RdeFeatures:
        """The same, or of the captions as they are."""
        tokens = batch["tokens"]
        if augment:
            tokens = augment_captions(
                tokens,
                self.options.augment_text,
                caption_index=batch["caption_index"],
                seed=progress.seed,
                epoch=progress.epoch,
                tokenizer=self.tokenizer,
            )
        # A norm that learns statistics reads padding as well, as published; nothing else would notice.
        reads_padding = self.training and self.options.norm == "train"
        length = None if reads_padding else find_length(batch)
        return RdeFeatures(self.embed_images(batch["images"]), self.embed_texts(tokens, length))

    def embed_images(self, images: Tensor) -> Tensor:
        """(B, D + S) of (B, 3, H, W)."""
        seen = self.base_model.encode_image(images, every_token=True, attention=True)
        assert seen.tokens is not None and seen.attention is not None
        selected = self.image_selection(seen.tokens, select_patches(seen.attention, self.patches))
        return torch.cat([widen(seen.pooled), widen(selected)], dim=1)

    def embed_texts(self, tokens: Tensor, length: int | None) -> Tensor:
        """(T, D + S) of (T, L) ids, of which `length` positions are computed; absent: all."""
        read = self.base_model.encode_text(tokens, length=length, every_token=True, attention=True)
        assert read.tokens is not None and read.attention is not None
        words = select_words(read.attention, tokens[:, :length], self.words, tokenizer=self.tokenizer)
        selected = self.text_selection(read.tokens, words.positions, words.is_pooled)
        return torch.cat([widen(read.pooled), widen(selected)], dim=1)

    def losses(self, features: RdeFeatures, batch: Batch, progress: Progress) -> StepOutput:
        """Losses of both embeddings over the clean pairs, and the share of those, as shares of this rank."""
        each = self.find_losses(features, batch)
        if self.options.division.reuse_losses:
            self.record(each, batch)
        clean = self.division.read_marks(batch["caption_index"])
        # A selection and not a product: nothing times infinity would be no zero.
        total = torch.where(clean[:, None], each, 0.0).sum(dim=0)
        if self.objective.is_mean:
            total = total / distributed.sum_over_ranks(clean.sum()).clamp(min=1)
        pairs = batch["global_size"] * self.setting.captions_per_image
        return StepOutput({"global": total[0], "selected": total[1]}, {"clean": clean.sum() / pairs})

    def find_losses(self, features: RdeFeatures, batch: Batch) -> Tensor:
        """(T, 2) loss of each pair of this rank by the global and by the selected-token embedding."""
        everyone = gather_rows(features.images, features.texts, batch, self.setting.captions_per_image)
        labels = PairLabels(batch["identity"], batch["text_identity"], batch["owner"])
        sides = (features.images, features.texts, everyone.image_features, everyone.text_features)
        each = []
        for images, texts, all_images, all_texts in zip(*map(self.cut, sides), strict=True):
            others = replace(everyone, image_features=all_images, text_features=all_texts)
            each.append(loss_per_pair(images, texts, labels, self.objective, others))
        return torch.stack(each, dim=1)

    def cut(self, both: Tensor) -> tuple[Tensor, ...]:
        """(N, D) and (N, S) of (N, D + S)."""
        return torch.split(both, self.widths, dim=1)

    def before_epoch(self, context: EpochContext) -> None:
        """Divide the training pairs by how well both embeddings fit them now."""
        progress, division = context.progress, self.options.division
        if progress.epoch <= division.warmup_epochs:
            return
        if not division.reuse_losses:
            self.measure(context)
        self.division.divide(progress.seed, progress.epoch, self.device)

    @torch.no_grad()
    def measure(self, context: EpochContext) -> None:
        """One forward pass over this rank's share: a pair's loss depends on its batch there, as published."""
        was_training = self.training
        self.eval()
        # The survey's own number of the epoch, so that captions are augmented as its images are.
        progress = replace(context.progress, epoch=-context.progress.epoch)
        augment = self.options.division.augment
        for batch in context.survey(augment=augment):
            with context.autocast():
                each = self.find_losses(self.embed(batch, progress, augment=augment), batch)
            self.record(each, batch)
        self.train(was_training)

    def record(self, each: Tensor, batch: Batch) -> None:
        """Keep the losses of every rank's pairs for the division."""
        repeats = self.setting.captions_per_image
        self.division.losses.write(
            batch["caption_index"], each, samples=batch["global_size"], repeats=repeats
        )

    def encode(self, batch: Batch, side: Side) -> Tensor:
        """(N, D + S) unit vectors whose product is the mean of both cosines."""
        if side == "image":
            both = self.embed_images(batch["images"])
        else:
            both = self.embed_texts(batch["tokens"], find_length(batch))
        return torch.cat([normalise(part) for part in self.cut(both)], dim=1) / math.sqrt(2)

    def parameter_groups(self, optim: OptimOptions) -> list[GroupRule]:
        """Selection layers have a rate of their own; norms and embeddings are decayed, biases are not."""
        own = self.options.selection_lr / optim.lr if optim.lr > 0 else 0.0
        return [
            GroupRule(pattern=r"_selection\..*bias", lr=own, weight_decay=0.0),
            GroupRule(pattern=r"_selection\.", lr=own),
            GroupRule(pattern=r"bias", lr=self.options.bias_lr, weight_decay=0.0),
        ]


def count_selected(tokens: int, ratio: float) -> int:
    """How many of `tokens` tokens are selected, at least one."""
    return max(int(tokens * ratio), 1)
