"""TVI-LFM (NeurIPS 2024): infrared images, helped by a description, find visible images of the person.

A two-stream ResNet learns visible and infrared images (rows visible and infrared). Then it stands still,
and CLIP's text tower learns to add to an infrared image what its text says and the infrared one cannot
show. All features share one neck, whose output is compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, ClassVar, NamedTuple, Self

import torch
from torch import Tensor

from tpr import distributed
from tpr.config.schema import InitOptions, OptimOptions
from tpr.data.samples.batch import Batch
from tpr.data.samples.views import Views
from tpr.models.heads import NeckHead
from tpr.models.resnet import GeneralisedMean
from tpr.models.text_tower import TextTower, round_length
from tpr.models.two_stream import TwoStream, TwoStreamOptions, load_imagenet, load_text
from tpr.objectives.contrastive import normalise, widen
from tpr.objectives.fusion import follow_scores, orthogonality
from tpr.objectives.identity import count_right, identity_loss
from tpr.objectives.triplet import weighted_triplet
from tpr.systems.base import EpochContext, GroupRule, Progress, Setting, Side, StepOutput, System, weigh
from tpr.systems.official import Official
from tpr.systems.tvi_lfm_official import TviLfmOfficial
from tpr.systems.tvi_lfm_options import Row, TviLfmOptions


class TviLfmFeatures(NamedTuple):
    """What the towers give for one step, none normalised."""

    rows: Tensor
    """(B, G, D) the features of each slot that are trained on."""
    parts: Mapping[Row, Tensor]
    """(B, D) of each kind of row but visible ones, where the rows need it."""
    added: Tensor | None
    """(B, D) what a fused feature has beyond its infrared one, where there is a text tower."""


class TviLfm(System):
    """Two-stream ResNet, text tower and one neck; scores are cosines behind the neck."""

    Options: ClassVar[type[Any]] = TviLfmOptions
    ModelOptions: ClassVar[type[Any]] = TwoStreamOptions
    official: ClassVar[Official] = TviLfmOfficial()
    base_is_kept: Tensor
    """True once the head that the base training left has been kept."""

    def __init__(self, options: TviLfmOptions, model_options: TwoStreamOptions, setting: Setting) -> None:
        super().__init__(setting)
        self.options = options
        self.loss_weights = weigh(options.losses)
        self.model_options = model_options
        self.visual = TwoStream(model_options)
        self.pool = GeneralisedMean()
        width = self.visual.output
        if options.reads_text:
            self.text = TextTower(
                model_options.text,
                output=width,
                text_length=setting.text_length,
                quick_gelu=model_options.quick_gelu,
            )
        self.head = NeckHead(width, setting.identities)
        if options.keeps_base:
            self.base_pool = GeneralisedMean().requires_grad_(False)
            self.base_head = NeckHead(width, setting.identities).requires_grad_(False)
            self.register_buffer("base_is_kept", torch.tensor(False))
        if options.visual != "trained":
            self.visual.requires_grad_(False)
            self.pool.requires_grad_(False)

    @classmethod
    def needs_identities(cls, options: TviLfmOptions) -> str | None:
        """Every row names its person, so nothing else can be done."""
        return "choose another system"

    def load_published(self, init: InitOptions) -> None:
        """ImageNet's weights unless a checkpoint replaces them, and CLIP's text, which one may lack."""
        model = self.model_options
        if model.weights is not None and init.checkpoint is None:
            load_imagenet(self.visual, model.weights, init.minimum_share)
        if model.text_weights is not None and self.options.reads_text:
            load_text(self.text, model.text_weights, init.minimum_share)

    def views(self) -> Views:
        """Slots of a visible and an infrared image, with both captions where there is a text tower.

        Batches have equal identities and images of both modalities.
        """
        model = self.model_options
        return Views(
            tokens=self.options.reads_text,
            kind="slot",
            sampler="cross_modality",
            chain=model.chain,
            tokenizer=model.tokenizer,
        )

    def sides(self) -> tuple[Side, ...]:
        """Images of both modalities, and all that comes with text."""
        if not self.options.reads_text:
            return ("image", "infrared")
        return ("image", "infrared", "text", "fused", "ensemble")

    def train(self, mode: bool = True) -> Self:
        """As every module, but what is frozen or kept stays in evaluation mode."""
        super().train(mode)
        if self.options.visual == "frozen":
            self.visual.eval()
        if self.options.keeps_base:
            self.base_head.eval()
        return self

    def before_epoch(self, context: EpochContext) -> None:
        """Before anything of it moves, keep the head that the base training left."""
        if self.options.keeps_base and not self.base_is_kept:
            self.base_pool.load_state_dict(self.pool.state_dict())
            self.base_head.load_state_dict(self.head.state_dict())
            self.base_is_kept.fill_(True)

    def features(self, batch: Batch, progress: Progress) -> TviLfmFeatures:
        """Both views of the visible images and whatever else the rows need."""
        options = self.options
        visible = torch.cat([batch["images"], batch["second_images"]])
        maps = self.visual(visible, batch["infrared_images"] if options.reads_infrared else None)
        first, second, *others = self.pool(maps).tensor_split(3 if options.reads_infrared else 2)
        found: dict[Row, Tensor] = dict(zip(("infrared",), others, strict=False))
        added = None
        if options.reads_text:
            found["text"], added = self.read_texts(batch, subtract=options.subtracts_text)
        if "fused" in options.rows and added is not None:
            found["fused"] = found["infrared"] + added
        rows = [first, second, *(found[row] for row in options.rows if row != "visible")]
        return TviLfmFeatures(torch.stack(rows, dim=1), found, added)

    def read_texts(self, batch: Batch, *, subtract: bool) -> tuple[Tensor, Tensor]:
        """(B, D) of the captions, and the same less that of the infrared captions where asked for."""
        tokens, longest = [batch["tokens"]], [batch.get("longest_caption")]
        if subtract:
            tokens.append(batch["infrared_tokens"])
            longest.append(batch.get("longest_infrared_caption"))
        known = [count for count in longest if count is not None]
        length = round_length(max(known), tokens[0].shape[1]) if len(known) == len(longest) else None
        read = widen(self.text.encode_text(torch.cat(tokens), length=length).pooled)
        text, *taken = read.tensor_split(len(tokens))
        return text, text - taken[0] if subtract else text

    def losses(self, features: TviLfmFeatures, batch: Batch, progress: Progress) -> StepOutput:
        """Weighted losses over all rows and the share of rows classified rightly, as shares of this rank."""
        options, slots = self.options, batch["global_size"]
        groups = features.rows.shape[1]
        rows, total = features.rows.flatten(0, 1), slots * groups
        identity = batch["identity"].repeat_interleave(groups)
        logits = self.head(rows)
        losses = {"identity": identity_loss(logits, identity, total)}
        if options.losses.triplet > 0:
            losses["triplet"] = weighted_triplet(
                rows,
                identity,
                options.triplet,
                all_features=distributed.gather(rows, slots, groups),
                all_identity=distributed.gather(identity, slots, groups),
            )
        losses |= self.relate(features, slots)
        weights = asdict(options.losses)
        return StepOutput(
            {name: weights[name] * value for name, value in losses.items()},
            {"accuracy": count_right(logits, identity, total)},
        )

    def relate(self, features: TviLfmFeatures, slots: int) -> dict[str, Tensor]:
        """The losses between modalities; slots: those of all ranks."""
        weights, parts = self.options.losses, features.parts
        losses: dict[str, Tensor] = {}
        if weights.orthogonality > 0 and features.added is not None:
            columns = distributed.gather(features.added, slots)
            losses["orthogonality"] = orthogonality(parts["infrared"], features.added, columns)
        roles: dict[str, tuple[float, Row, Row]] = {
            "text_alignment": (weights.text_alignment, "text", "infrared"),
            "infrared_alignment": (weights.infrared_alignment, "infrared", "text"),
        }
        for name, (weight, follower, leader) in roles.items():
            if weight > 0:
                columns = distributed.gather(parts["fused"], slots)
                scale = self.options.alignment_scale
                losses[name] = follow_scores(parts[follower], parts[leader], columns, scale, slots)
        return losses

    def encode(self, batch: Batch, side: Side) -> Tensor:
        """(N, D) unit vectors; the ensemble is the sum of three, so that its score is the sum of cosines.

        Where the base training's head is kept, infrared queries go through it as published: a visible
        image is then two unit vectors side by side, (N, 2 D), and every other side has zeros in the half
        that it is not compared with.
        """
        return self.encode_queries(batch, (side,))[side]

    def encode_queries(self, batch: Batch, sides: Sequence[Side]) -> dict[Side, Tensor]:
        """As `encode` for each side, with each tower run once.

        batch: `images` for image, `infrared_images` for infrared, `tokens` for text, both of these for fused
        and ensemble, and `infrared_tokens` where the text says more than the infrared image's own.
        """
        wanted, found, pooled = set(sides), dict[Side, Tensor](), torch.empty(0)
        if "image" in wanted:
            maps = self.visual(batch["images"], None)
            found["image"] = self.compare(self.pool(maps), maps)
        if wanted & {"infrared", "fused", "ensemble"}:
            maps = self.visual(None, batch["infrared_images"])
            pooled = self.pool(maps)
            found["infrared"] = self.compare(None, maps) if self.has_base else self.compare(pooled)
        if wanted & {"text", "fused", "ensemble"}:
            subtract = self.options.feature_filter and "infrared_tokens" in batch
            text, added = self.read_texts(batch, subtract=subtract)
            found["text"] = self.compare(text)
            if wanted & {"fused", "ensemble"}:
                found["fused"] = self.compare(self.fuse(pooled, added, subtracted=subtract))
                found["ensemble"] = found["fused"] + self.compare(pooled) + found["text"]
        return {side: found[side] for side in sides}

    def fuse(self, infrared: Tensor, added: Tensor, *, subtracted: bool) -> Tensor:
        """(N, D) fused features of queries.

        A neck that was trained on infrared + text - infrared text meets one feature's size. Own text leaves
        nothing to subtract, so the sum is halved: twice the size would drown in the neck's running mean.
        """
        is_double = self.options.feature_filter and not subtracted
        return (infrared + added) / 2 if is_double else infrared + added

    @property
    def has_base(self) -> bool:
        """True once the head of the base training is kept."""
        return self.options.keeps_base and bool(self.base_is_kept)

    def compare(self, features: Tensor | None, maps: Tensor | None = None) -> Tensor:
        """Unit vectors of (N, D) features behind the neck, and of (N, D, h, w) maps behind the kept one.

        (N, 2 D) where a head is kept, with zeros for what is absent; else (N, D) of the features alone.
        """
        if not self.has_base:
            assert features is not None
            return normalise(widen(self.head.norm(features)))
        own = None if features is None else normalise(widen(self.head.norm(features)))
        kept = None if maps is None else normalise(widen(self.base_head.norm(self.base_pool(maps))))
        given = own if own is not None else kept
        assert given is not None
        return torch.cat([torch.zeros_like(given) if half is None else half for half in (own, kept)], dim=1)

    def parameter_groups(self, optim: OptimOptions) -> list[GroupRule]:
        """As published: the text tower's blocks have a rate of their own, everything is decayed."""
        options = self.options
        text = options.text_lr / optim.lr if optim.lr > 0 else 0.0
        return [
            GroupRule(
                pattern=r"^text\.transformer\..*bias",
                lr=text * options.text_bias_lr,
                weight_decay=options.text_bias_decay,
            ),
            GroupRule(pattern=r"^text\.transformer\.", lr=text),
            GroupRule(pattern=r"^head\.", lr=options.head_lr),
            GroupRule(pattern=r"bias$", lr=options.visual_bias_lr, weight_decay=options.visual_bias_decay),
        ]
