"""Captions from a model folder of the transformers library, on this machine's GPU or CPU.

In float32 a text depends on its request alone, not on the batch that it was written in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tpr.captioning.engines.base import CaptionReply, CaptionRequest, Engine
from tpr.captioning.engines.chat import make_reply, open_image, unreadable
from tpr.captioning.engines.model_options import ModelOptions
from tpr.config.ranges import Count, NotNegative, Positive, PositiveShare
from tpr.errors import UserError

MOST_STRETCHED = 100
"""Ratio of sides from which on nothing can be seen and Qwen's resizing gives up."""


class TransformersModel(Engine):
    """BLIP, LLaVA, LLaVA-Next, Qwen2.5-VL and Qwen3-VL; language models rephrase."""

    uses_gpu = True

    @dataclass(frozen=True, kw_only=True)
    class Options(ModelOptions):
        """Options of a model that transformers runs."""

        batch: Count = 16
        """Requests that are answered together."""
        temperature: NotNegative = 0.0
        """Sampling temperature; 0 is greedy, where another seed changes nothing."""
        top_p: PositiveShare = 0.9
        """Sampling takes the likeliest tokens that together have this share."""
        repetition_penalty: Positive = 1.0
        """Above 1, tokens that occurred become less likely."""
        max_new_tokens: Count = 192
        """Longest answer; a longer one fails as truncated."""
        begin_with_instruction: bool = False
        """BLIP: the instruction is the beginning of the caption; without it BLIP gets the image alone."""

    def __init__(self, options: Options) -> None:
        from tpr.captioning.engines.transformers_loading import load_captioner

        self.options = options
        self.batch = options.batch
        self.captioner = load_captioner(
            options.model,
            revision=options.revision,
            device=options.device,
            precision=options.precision,
            visual_tokens=(options.min_visual_tokens, options.max_visual_tokens),
        )

    def describe(self) -> dict[str, Any]:
        """Model, class, precision, versions and everything that shapes a text."""
        options = self.options
        return {
            "engine": "transformers",
            "model": options.model,
            **self.captioner.describe(),
            "temperature": options.temperature,
            "top_p": options.top_p,
            "repetition_penalty": options.repetition_penalty,
            "max_new_tokens": options.max_new_tokens,
            "min_visual_tokens": options.min_visual_tokens,
            "max_visual_tokens": options.max_visual_tokens,
            "begin_with_instruction": options.begin_with_instruction,
        }

    def generate(self, requests: Sequence[CaptionRequest]) -> list[CaptionReply]:
        """Replies in order; prompts that cannot be padded together are answered in groups."""
        self._check_styles(requests)
        images, readable = self._look(requests)
        replies = [unreadable()] * len(requests)
        is_told = self.captioner.has_chat or self.options.begin_with_instruction
        instructions = [request.instruction if is_told else None for request in requests]
        for group in self.captioner.group([instructions[index] for index in readable]):
            rows = [readable[place] for place in group]
            for start in range(0, len(rows), self.batch):
                chunk = rows[start : start + self.batch]
                answers = self._answer(
                    [images[row] for row in chunk],
                    [instructions[row] for row in chunk],
                    [requests[row].style for row in chunk],
                    [requests[row].seed for row in chunk],
                )
                for row, reply in zip(chunk, answers, strict=True):
                    replies[row] = reply
        return replies

    def _look(self, requests: Sequence[CaptionRequest]) -> tuple[list[Any], list[int]]:
        """The images, None where there is none, and the requests that can be answered."""
        sees = self.captioner.sees
        if any(request.has_image != sees for request in requests):
            raise UserError(
                f"transformers: model={self.options.model} "
                + ("describes images; rephrasing takes a language model" if sees else "sees no images")
            )
        if not sees:
            return [None] * len(requests), list(range(len(requests)))
        images = [open_image(request) for request in requests]
        readable = [
            index
            for index, image in enumerate(images)
            if image is not None and max(image.size) < MOST_STRETCHED * min(image.size)
        ]
        return images, readable

    def _check_styles(self, requests: Sequence[CaptionRequest]) -> None:
        highest = max((request.style for request in requests if request.style is not None), default=-1)
        if highest >= self.captioner.style_count:
            raise UserError(
                f"transformers: model={self.options.model} has {self.captioner.style_count:,} styles, the "
                f"plan draws number {highest:,}; name a model of `tpr style export`, or plan fewer --styles"
            )

    def _answer(
        self,
        images: list[Any],
        instructions: list[str | None],
        styles: list[int | None],
        seeds: list[int],
    ) -> list[CaptionReply]:
        from torch import OutOfMemoryError

        from tpr.captioning.engines.sampling import SeededSampling

        options = self.options
        sampling = None
        if options.temperature > 0:
            sampling = SeededSampling(
                seeds, length=options.max_new_tokens, temperature=options.temperature, top_p=options.top_p
            )
        try:
            answers = self.captioner.answer(
                images,
                instructions,
                sampling,
                styles=styles,
                max_new_tokens=options.max_new_tokens,
                repetition_penalty=options.repetition_penalty,
            )
        except OutOfMemoryError:
            raise UserError(
                f"transformers: {len(images)} requests at once do not fit the GPU; lower batch={self.batch}"
            ) from None
        return [make_reply(text, is_cut=is_cut) for text, is_cut in answers]

    def close(self) -> None:
        """Give the model's memory back."""
        self.captioner.release()
