"""Asking a loaded model: images and instructions in, texts out."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import transformers
from PIL import Image
from torch import Tensor

from tpr.captioning.engines.chat import local_messages, pad_to_square
from tpr.errors import UserError

STYLES_KEY = "annotator_styles"
"""Entry of config.json that tells of a model's styles; libraries pass over it."""
BETWEEN_BLANKS = re.compile(r"(?<=\w) ([-'/]) (?=\w)")
AFTER_BLANK = re.compile(r" ([.,;:!?])")

Images = list[Image.Image]
Instructions = list[str | None]
Styles = Sequence[int | None] | None
"""Numbers of annotators' styles; absent: none."""
Inputs = dict[str, Tensor]


class Answer(NamedTuple):
    """A model's text, and whether it was cut at the limit."""

    text: str
    is_cut: bool


class Captioner(ABC):
    """A model with its processor."""

    has_chat: bool
    """Whether it follows instructions."""
    sees: bool = True
    """Whether it is asked about images; language models rephrase captions."""

    def __init__(self, model: Any, processor: Any, *, is_padded: bool) -> None:
        self.model = model
        self.processor = processor
        self.is_padded = is_padded

    @abstractmethod
    def group(self, instructions: Instructions) -> list[list[int]]:
        """Indices of instructions that may be answered in one batch."""

    @abstractmethod
    def prepare(self, images: Images, instructions: Instructions, styles: Styles = None) -> Inputs:
        """The model's input, on the CPU; styles: numbers of annotators' styles, absent: none."""

    @property
    @abstractmethod
    def end_tokens(self) -> list[int]:
        """Tokens that end a text."""

    @property
    @abstractmethod
    def pad_token(self) -> int:
        """What fills a text after its end."""

    @abstractmethod
    def written(self, tokens: Tensor, length: int) -> Tensor:
        """The part of the output that is the caption; length: tokens of the prompt."""

    @property
    def style_count(self) -> int:
        """Annotators' styles that the model was taught."""
        found = getattr(self.model.config, STYLES_KEY, None)
        return int(found["styles"]) if found else 0

    def describe(self) -> dict[str, Any]:
        """Class, commit, precision, device and versions."""
        return {
            "class": type(self.model).__name__,
            "styles": self.style_count,
            "commit": getattr(self.model.config, "_commit_hash", None),
            "precision": str(self.model.dtype).removeprefix("torch."),
            "device": self.model.device.type,
            "transformers": transformers.__version__,
            "torch": str(torch.__version__),
        }

    @torch.inference_mode()
    def answer(
        self,
        images: Images,
        instructions: Instructions,
        sampling: Any,
        *,
        styles: Styles = None,
        max_new_tokens: int,
        repetition_penalty: float,
    ) -> list[Answer]:
        """One text per image; sampling: a logits processor, or None for the likeliest token."""
        inputs = {
            name: value.to(self.model.device, self.model.dtype if value.is_floating_point() else None)
            for name, value in self.prepare(images, instructions, styles).items()
        }
        self.set_writer(max_new_tokens, repetition_penalty)
        processors = [] if sampling is None else [sampling]
        with _full_precision(self.model.dtype):
            output = self.model.generate(**inputs, logits_processor=processors)
        return [self.read(self.written(row, inputs["input_ids"].shape[1])) for row in output.cpu()]

    def set_writer(self, max_new_tokens: int, repetition_penalty: float) -> None:
        """Replace everything that the plan decides; what else came with the model stays.

        That is for example which tokens it must not write.
        """
        settings = self.writer.generation_config
        settings.do_sample, settings.num_beams, settings.num_return_sequences = False, 1, 1
        settings.temperature = settings.top_p = settings.top_k = None  # a greedy search would warn of them
        settings.max_length, settings.min_length = None, 0
        settings.max_new_tokens = max_new_tokens
        settings.repetition_penalty = repetition_penalty
        settings.eos_token_id, settings.pad_token_id = self.end_tokens, self.pad_token

    @property
    def writer(self) -> Any:
        """The part of the model that writes, and holds the settings of generation."""
        return self.model

    def read(self, tokens: Tensor) -> Answer:
        """The text up to the first end token; cut if there is none."""
        is_end = torch.isin(tokens, torch.tensor(self.end_tokens))
        is_cut = not bool(is_end.any())
        if not is_cut:
            tokens = tokens[: int(is_end.int().argmax())]
        text = self.processor.tokenizer.decode(
            tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return Answer(text, is_cut)

    def release(self) -> None:
        """Forget the model and give its GPU memory back."""
        self.model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class BlipCaptioner(Captioner):
    """BLIP: an image, and if wished the beginning of its caption."""

    has_chat = False

    def group(self, instructions: Instructions) -> list[list[int]]:
        """Beginnings of one length: BLIP counts positions from the left, padding included."""
        groups: dict[int, list[int]] = {}
        for index, instruction in enumerate(instructions):
            groups.setdefault(len(self.beginning(instruction)), []).append(index)
        return list(groups.values())

    def beginning(self, instruction: str | None) -> list[int]:
        """Start token, words, and the end token that BLIP's generate takes off again."""
        return list(self.processor.tokenizer(instruction or "").input_ids)

    def prepare(self, images: Images, instructions: Instructions, styles: Styles = None) -> Inputs:
        """Squares of the whole images, and prompts of one length; there is no place for styles."""
        squares = self.processor.image_processor(images, return_tensors="pt")
        prompts = torch.tensor([self.beginning(instruction) for instruction in instructions])
        return {
            "pixel_values": squares["pixel_values"],
            "input_ids": prompts,
            "attention_mask": torch.ones_like(prompts),
        }

    @property
    def end_tokens(self) -> list[int]:
        """BLIP ends with BERT's separator."""
        return [self.model.config.text_config.sep_token_id]

    @property
    def pad_token(self) -> int:
        """The text decoder's padding."""
        return int(self.model.config.text_config.pad_token_id)

    @property
    def writer(self) -> Any:
        """BLIP's own generate hands over to its text decoder."""
        return self.model.text_decoder

    def written(self, tokens: Tensor, length: int) -> Tensor:
        """Everything after the start token: the beginning is part of the caption."""
        return tokens[1:]

    def read(self, tokens: Tensor) -> Answer:
        """BERT's words put together as they are written: it knows signs alone, between blanks."""
        text, is_cut = super().read(tokens)
        return Answer(AFTER_BLANK.sub(r"\1", BETWEEN_BLANKS.sub(r"\1", text)), is_cut)


class ChatCaptioner(Captioner):
    """Models with a chat template: LLaVA, LLaVA-Next, Qwen."""

    has_chat = True

    def __init__(self, model: Any, processor: Any, *, is_padded: bool) -> None:
        super().__init__(model, processor, is_padded=is_padded)
        tokenizer = processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if processor.chat_template is None and tokenizer.chat_template is None:
            raise UserError(
                f"transformers: the folder of {type(model).__name__} has no chat template; "
                "put the model's chat_template.jinja next to its config.json"
            )

    def group(self, instructions: Instructions) -> list[list[int]]:
        """All together, padded on the left."""
        return [list(range(len(instructions)))] if instructions else []

    def prompt(self, instruction: str, style: int | None = None) -> str:
        """One user turn and the beginning of the answer; UserError unless it has one place for an image."""
        chosen = {} if style is None else {"style": style}
        words: str = self.processor.apply_chat_template(
            local_messages(instruction), add_generation_prompt=True, tokenize=False, **chosen
        )
        places = words.count(self.processor.image_token)
        if places != 1:
            raise UserError(
                f"transformers: the prompt has {places} places for one image; an instruction must not hold "
                f"{self.processor.image_token!r}, and the chat template must write it once"
            )
        return words

    def prepare(self, images: Images, instructions: Instructions, styles: Styles = None) -> Inputs:
        """Prompts with each image's tokens and style, padded on the left, and the images' pixels."""
        numbers = [None] * len(instructions) if styles is None else styles
        prompts = [
            self.prompt(instruction or "", style)
            for instruction, style in zip(instructions, numbers, strict=True)
        ]
        if self.is_padded:
            mean = self.processor.image_processor.image_mean
            red, green, blue = (int(part * 255) for part in mean)
            images = [pad_to_square(image, (red, green, blue)) for image in images]
        inputs = self.processor(
            images=images,
            text=prompts,
            padding=True,
            return_tensors="pt",
            add_special_tokens=not self.begins(prompts[0]),
        )
        # BERT's segments, which some tokenizers add and no model here takes.
        return {name: value for name, value in inputs.items() if name != "token_type_ids"}

    def begins(self, prompt: str) -> bool:
        """Whether the chat template has written the start token already."""
        start = self.processor.tokenizer.bos_token
        return start is not None and prompt.startswith(start)

    @property
    def end_tokens(self) -> list[int]:
        """The model's own, of which chat models have several, else the tokenizer's."""
        ends = self.model.generation_config.eos_token_id
        if ends is None:
            ends = self.processor.tokenizer.eos_token_id
        return list(ends) if isinstance(ends, list | tuple) else [ends]

    @property
    def pad_token(self) -> int:
        """The tokenizer's padding."""
        return int(self.processor.tokenizer.pad_token_id)

    def written(self, tokens: Tensor, length: int) -> Tensor:
        """What follows the prompt."""
        return tokens[length:]


@contextmanager
def _full_precision(dtype: torch.dtype) -> Iterator[None]:
    """Convolutions in float32 mean float32: cuDNN would round their inputs to TF32."""
    if dtype != torch.float32:
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield
