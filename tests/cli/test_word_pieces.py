"""A model of another text tower enters by two table lines: its options name word pieces and image chain."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from tests.cli.screen import Outcome, Type, read_table
from tpr import load_system
from tpr.data.images.chains import ImageChain, name_chain
from tpr.data.samples.batch import Batch
from tpr.data.samples.views import Views
from tpr.data.text.masking import mask_words
from tpr.data.text.tokenizer import Tokenizer
from tpr.data.text.word_pieces import SMALL_VOCABULARY, BertTokenizer, find_vocabulary
from tpr.objectives import itc
from tpr.objectives.contrastive import normalise
from tpr.objectives.masked_words import LabelledPositions, masked_word_loss
from tpr.systems import MODELS, SYSTEMS, TABLES
from tpr.systems.base import Progress, Setting, Side, StepOutput, System
from tpr.systems.dual_encoder import find_present, gather_rows

RATE = 0.3


@dataclass(frozen=True, kw_only=True)
class BagOptions:
    """A bag of word pieces, and one linear layer over the pixels."""

    vocabulary: str | None = None
    """A file, a model's folder or a tag of the Hugging Face hub; absent: the words of the drawn world."""
    width: int = 16
    """Columns of an embedding."""

    @property
    def chain(self) -> ImageChain:
        """How images are taken."""
        return name_chain("bicubic", "imagenet")

    @property
    def tokenizer(self) -> Tokenizer:
        """What makes ids of captions."""
        return BertTokenizer(find_vocabulary(self.vocabulary))

    def find_grid(self, image_size: tuple[int, int]) -> None:
        """No positions are learned."""


class Bags(NamedTuple):
    """What both sides are, and what masked words are guessed from."""

    images: Tensor
    texts: Tensor
    words: Tensor
    labels: Tensor


class BagOfPieces(System):
    """The mean of a caption's pieces against an image, and masked pieces guessed from both."""

    ModelOptions = BagOptions

    @dataclass(frozen=True, kw_only=True)
    class Options:
        """Nothing to choose."""

    def __init__(self, options: Options, model: BagOptions, setting: Setting) -> None:
        super().__init__(setting)
        self.chain, self.tokenizer = model.chain, model.tokenizer
        height, width = setting.image_size
        self.pixels = nn.Linear(3 * height * width, model.width)
        self.pieces = nn.Embedding(self.tokenizer.size, model.width)
        self.guess = nn.Linear(model.width, self.tokenizer.size)
        self.loss_weights = {"itc": 1.0, "mlm": 1.0}

    def views(self) -> Views:
        return Views(chain=self.chain, tokenizer=self.tokenizer)

    def average(self, tokens: Tensor, present: Tensor) -> Tensor:
        """(T, D) mean over start, words and end."""
        shares = present / present.sum(dim=1, keepdim=True)
        mean: Tensor = (self.pieces(tokens) * shares[:, :, None]).sum(dim=1)
        return mean

    def features(self, batch: Batch, progress: Progress) -> Bags:
        tokens, present = batch["tokens"], find_present(batch["tokens"], None, self.tokenizer)
        masked, labels = mask_words(
            tokens,
            RATE,
            caption_index=batch["caption_index"],
            seed=progress.seed,
            epoch=progress.epoch,
            tokenizer=self.tokenizer,
        )
        images = self.pixels(batch["images"].flatten(1))
        words = self.pieces(masked) + (images + self.average(masked, present))[:, None]
        return Bags(images, self.average(tokens, present), words, labels)

    def losses(self, features: Bags, batch: Batch, progress: Progress) -> StepOutput:
        gathered = gather_rows(features.images, features.texts, batch, 1)
        positions = LabelledPositions.find(features.labels, rate=RATE)
        logits = self.guess(features.words.flatten(0, 1)[positions.index])
        contrast = itc(features.images, features.texts, 20.0, owner=batch["owner"], gathered=gathered)
        return StepOutput({"itc": contrast, "mlm": masked_word_loss(logits, positions)})

    def encode(self, batch: Batch, side: Side) -> Tensor:
        if side == "image":
            return normalise(self.pixels(batch["images"].flatten(1)))
        present = find_present(batch["tokens"], None, self.tokenizer)
        return normalise(self.average(batch["tokens"], present))


Train = Callable[..., Outcome]


@pytest.fixture
def train(world: Path, tmp_path: Path, type_command: Type, monkeypatch: pytest.MonkeyPatch) -> Train:
    """`tpr train` of the toy on the drawn world; words: of its model options, and others."""
    monkeypatch.setitem(SYSTEMS, "bag", BagOfPieces)
    monkeypatch.setitem(MODELS, "bag", BagOptions)
    monkeypatch.setitem(TABLES["system"], "bag", BagOfPieces.Options)
    config = tmp_path / "bag.yaml"
    config.write_text(
        "system: bag\n"
        "model: {name: bag}\n"
        f"data: {{root: {world}, train: [cuhk_pedes], test: [icfg_pedes], batch: 16, image_size: [32, 16], "
        "text_length: 80}\n"
        "optim: {lr: 0.001, eps: 1e-8}\n"
        "schedule: {name: constant, warmup_epochs: 0}\n"
        "evaluation: {select_on: last}\n"
        f"runtime: {{workers: 0, max_steps: 2, log_every_steps: 1, output: {tmp_path / 'runs'}}}\n"
        "report: {ranking_queries: 1}\n"
    )
    return lambda *words: type_command("train", config, *words)


def test_it_trains_with_masked_words_and_its_checkpoint_encodes_texts(
    train: Train, tmp_path: Path, type_command: Type
) -> None:
    vocabulary = tmp_path / "words" / "vocab.txt"
    vocabulary.parent.mkdir()
    vocabulary.write_bytes(SMALL_VOCABULARY.read_bytes())
    outcome = train(f"model.vocabulary={vocabulary.parent}")
    assert (outcome.code, outcome.err) == (0, "")
    folder = tmp_path / "runs" / f"{tmp_path.name}-bag"
    assert list(read_table(outcome.out)) == ["icfg_pedes"]
    events = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    steps = [event["losses"] for event in events if event["kind"] == "step"]
    assert len(steps) == 2 and all(step.keys() == {"loss", "itc", "mlm"} for step in steps)
    assert steps[0]["mlm"] == pytest.approx(math.log(BertTokenizer().size), abs=1)  # as good as chance
    again = type_command("evaluate", folder / "best.pt")
    assert again.code == 0 and read_table(again.out) == read_table(outcome.out)
    system = load_system(folder / "best.pt")
    texts = system.encode_texts(["A man in a red coat.", "a MAN in a red coat .", "a woman"])
    assert torch.equal(texts[0], texts[1]) and not torch.equal(texts[0], texts[2])


def test_a_vocabulary_that_is_not_there_is_one_line(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    outcome = train("model.vocabulary=group/bert-that-is-not-here")
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "vocabulary group/bert-that-is-not-here: no such file or folder" in outcome.err
