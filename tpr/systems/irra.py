"""IRRA (CVPR 2023): similarity distribution matching, identity classification and masked words.

Any combination of SDM, ID, MLM, ITC and CMPM; MLLM4Text-ReID with equal masking and HAM pre-train with
SDM alone. The names of all parts are those of the official checkpoints.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from torch import Tensor

from tpr.config.ranges import InnerShare, NotNegative, Positive, PositiveShare, Range
from tpr.config.schema import OptimOptions
from tpr.data.samples.batch import Batch
from tpr.data.text.masking import mask_words
from tpr.errors import ConfigError
from tpr.models.clip import ClipOptions
from tpr.models.heads import (
    build_classifier,
    build_cross_attention,
    build_cross_transformer,
    build_norm,
    build_word_head,
    relate_words,
)
from tpr.objectives.contrastive import Gathered, cmpm, itc, sdm, widen
from tpr.objectives.identity import count_right, identity_loss
from tpr.objectives.masked_words import LabelledPositions, masked_word_accuracy, masked_word_loss
from tpr.systems.base import GroupRule, Progress, Setting, StepOutput, weigh
from tpr.systems.clip_official import ClipOfficial
from tpr.systems.dual_encoder import DualEncoder, find_length, find_present, gather_rows
from tpr.systems.official import Official


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Weights of the losses; a loss of weight 0 is not computed and its head is not built."""

    sdm: NotNegative = 1.0
    """Similarity distribution matching over identities."""
    id: NotNegative = 1.0
    """Identity classification of both sides."""
    mlm: NotNegative = 1.0
    """Masked language modelling: tokens guessed with the image's help."""
    itc: NotNegative = 0.0
    """Contrast of pairs, whatever their identity."""
    cmpm: NotNegative = 0.0
    """Cross-modal projection matching."""

    def __post_init__(self) -> None:
        weights = asdict(self)
        if not any(weights.values()):
            raise ConfigError(f"all weights are 0; give one of {', '.join(weights)} a weight")


@dataclass(frozen=True, kw_only=True)
class IrraOptions:
    """IRRA's settings."""

    losses: Losses = field(default_factory=Losses)
    """Weights of the losses."""
    temperature: Positive = 0.02
    """Softmax temperature of SDM: logits are cosine / temperature. Fixed, not learned."""
    itc_scale: Positive | None = None
    """Factor of the cosine in ITC; absent: 1 / temperature."""
    sdm_text: Literal["masked", "full"] = "masked"
    """Captions that SDM, ID, ITC and CMPM read: masked, as the official code does by accident, or full."""
    mask_rate: InnerShare = 0.15
    """Share of tokens that are masked."""
    depth: Annotated[int, Range(1, 64)] = 4
    """Blocks of the cross-modal transformer."""
    word_positions: Literal["all", "caption"] = "all"
    """Positions of the cross-modal blocks: all, padding included, as published, or the caption's own."""
    keep_patches: PositiveShare = 1.0
    """Share of patches, drawn anew each time, that the image tower reads in training; 1 as published."""
    groups: Literal["irra", "single"] = "irra"
    """IRRA's learning rates and decays by part, or one for all, as in MLLM4Text-ReID's pre-training."""
    new_lr: NotNegative = 5.0
    """Factor of the learning rate of classifier, cross-modal parts and token head."""
    bias_lr: NotNegative = 2.0
    """Factor of the learning rate of biases, which are not decayed."""


class IrraFeatures(NamedTuple):
    """What the towers give for one step."""

    images: Tensor
    """(B, D) pooled, not normalised."""
    texts: Tensor
    """(T, D) pooled, not normalised."""
    image_tokens: Tensor | None
    """(B, 1 + P, D) all image tokens, where words are guessed."""
    words: Tensor | None
    """(T, L, D) tokens of the masked captions, padding included, where words are guessed."""
    labels: Tensor | None
    """(T, L) words to guess, 0 elsewhere."""
    present: Tensor | None
    """(T, L) True up to a caption's end token, where padding is to take no part."""


class IrraOfficial(ClipOfficial):
    """IRRA's layout, of which MLLM4Text-ReID's and HAM's files are too, and bare towers."""

    def options(self, state: Mapping[str, Tensor]) -> IrraOptions:
        """The options whose parts a checkpoint in our names holds; bare towers have none."""
        blocks = {
            name.split(".")[2] for name in state if name.startswith("cross_modal_transformer.resblocks.")
        }
        losses = Losses(id=float("classifier.weight" in state), mlm=float("mlm_head.fc.weight" in state))
        return IrraOptions(losses=losses, depth=max(len(blocks), 1))


class Irra(DualEncoder):
    """CLIP fine-tuned with global matching and words guessed from the image."""

    Options: ClassVar[type[Any]] = IrraOptions
    official: ClassVar[Official] = IrraOfficial()

    def __init__(self, options: IrraOptions, model_options: ClipOptions, setting: Setting) -> None:
        super().__init__(model_options, setting)
        self.options = options
        self.loss_weights = weigh(options.losses)
        sizes = self.base_model.sizes
        width, depth = sizes.embed_dim, options.depth
        if options.losses.id > 0 and setting.identities is not None:
            self.classifier = build_classifier(width, setting.identities)
        if options.losses.mlm > 0:
            self.cross_attn = build_cross_attention(width, depth)
            self.cross_modal_transformer = build_cross_transformer(width, depth)
            self.ln_pre_t, self.ln_pre_i = build_norm(width), build_norm(width)
            self.ln_post = build_norm(width)
            self.mlm_head = build_word_head(width, depth, sizes.text.vocabulary)

    @classmethod
    def needs_identities(cls, options: IrraOptions) -> str | None:
        """Identities are classified; SDM and CMPM take each image as a person of its own."""
        return "give that loss weight 0 (system.losses.id=0)" if options.losses.id > 0 else None

    def features(self, batch: Batch, progress: Progress) -> IrraFeatures:
        """Both towers, each run as seldom as the losses allow."""
        guess = self.options.losses.mlm > 0
        patches = self.choose_patches(batch, progress, self.options.keep_patches)
        images = self.base_model.encode_image(batch["images"], every_token=guess, patches=patches)
        masked, labels = batch["tokens"], None
        if guess or self.options.sdm_text == "masked":
            masked, labels = self.mask(batch, progress)
        length = find_length(batch)
        if not guess:
            chosen = masked if self.options.sdm_text == "masked" else batch["tokens"]
            texts = self.base_model.encode_text(chosen, length=length)
            return IrraFeatures(widen(images.pooled), widen(texts.pooled), None, None, None, None)
        # All positions: padding takes part in the cross-modal blocks, as published.
        positions = length if self.options.word_positions == "caption" else None
        words = self.base_model.encode_text(masked, every_token=True, length=positions)
        texts = words
        if self.options.sdm_text == "full":
            texts = self.base_model.encode_text(batch["tokens"], length=length)
        present = None
        if self.options.word_positions == "caption":
            present = find_present(batch["tokens"], positions, self.tokenizer)
        if labels is not None:
            labels = labels[:, :positions]
        return IrraFeatures(
            widen(images.pooled), widen(texts.pooled), images.tokens, words.tokens, labels, present
        )

    def mask(self, batch: Batch, progress: Progress) -> tuple[Tensor, Tensor]:
        """(T, L) captions with masked words, and the words to guess."""
        return mask_words(
            batch["tokens"],
            self.options.mask_rate,
            caption_index=batch["caption_index"],
            seed=progress.seed,
            epoch=progress.epoch,
            tokenizer=self.tokenizer,
        )

    def losses(self, features: IrraFeatures, batch: Batch, progress: Progress) -> StepOutput:
        """Weighted losses and accuracies, as shares of this rank."""
        gathered = gather_rows(features.images, features.texts, batch, self.setting.captions_per_image)
        losses = self.match(features, batch, gathered)
        metrics: dict[str, Tensor] = {}
        if self.options.losses.id > 0:
            losses["id"], accuracies = self.classify(features, batch, gathered)
            metrics.update(accuracies)
        if self.options.losses.mlm > 0:
            losses["mlm"], metrics["mlm_accuracy"] = self.guess_words(features, batch)
        weights = asdict(self.options.losses)
        return StepOutput({name: weights[name] * value for name, value in losses.items()}, metrics)

    def match(self, features: IrraFeatures, batch: Batch, gathered: Gathered) -> dict[str, Tensor]:
        """The losses between all images and all captions."""
        weights, scale = self.options.losses, 1 / self.options.temperature
        images, texts, identity = features.images, features.texts, batch["identity"]
        text_identity = batch["text_identity"]
        losses = {}
        if weights.sdm > 0:
            losses["sdm"] = sdm(
                images, texts, identity, scale, text_identity=text_identity, gathered=gathered
            )
        if weights.itc > 0:
            losses["itc"] = itc(
                images, texts, self.options.itc_scale or scale, owner=batch["owner"], gathered=gathered
            )
        if weights.cmpm > 0:
            losses["cmpm"] = cmpm(images, texts, identity, text_identity=text_identity, gathered=gathered)
        return losses

    def classify(
        self, features: IrraFeatures, batch: Batch, gathered: Gathered
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Identity loss, the mean of both sides, and how often each side is right."""
        image_logits, text_logits = self.classifier(features.images), self.classifier(features.texts)
        images, texts = len(gathered.identity), len(gathered.text_identity)
        loss = identity_loss(image_logits, batch["identity"], images)
        loss = (loss + identity_loss(text_logits, batch["text_identity"], texts)) / 2
        return loss, {
            "image_accuracy": count_right(image_logits, batch["identity"], images),
            "text_accuracy": count_right(text_logits, batch["text_identity"], texts),
        }

    def guess_words(self, features: IrraFeatures, batch: Batch) -> tuple[Tensor, Tensor]:
        """Masked-word loss and the share of words guessed right; logits at labelled positions only."""
        assert (
            features.image_tokens is not None and features.words is not None and features.labels is not None
        )
        positions = LabelledPositions.find(features.labels, rate=self.options.mask_rate)
        related = self.relate(features.image_tokens[batch["owner"]], features.words, features.present)
        logits = self.mlm_head(self.ln_post(related.flatten(0, 1)[positions.index]))
        return masked_word_loss(logits, positions), masked_word_accuracy(logits, positions)

    def relate(self, image_tokens: Tensor, words: Tensor, present: Tensor | None = None) -> Tensor:
        """(T, L, D) words after they looked at their own image and at one another, before the last norm."""
        images, words = self.ln_pre_i(image_tokens), self.ln_pre_t(words)
        blocks = self.cross_modal_transformer.resblocks
        return relate_words(self.cross_attn, blocks, words, images, present=present)

    def parameter_groups(self, optim: OptimOptions) -> list[GroupRule]:
        """IRRA's groups: in the official code later rules win, here the first does.

        Norms and embeddings are decayed, biases are not; the three norms around the cross-modal blocks
        have the base rate, biases of those blocks the rate of biases.
        """
        if self.options.groups == "single":
            return []
        new, bias = self.options.new_lr, self.options.bias_lr
        return [
            GroupRule(pattern=r"(classifier|mlm_head).*bias", lr=new, weight_decay=0.0),
            GroupRule(pattern=r"classifier|mlm_head", lr=new),
            GroupRule(pattern=r"bias", lr=bias, weight_decay=0.0),
            GroupRule(pattern=r"cross", lr=new),
        ]
