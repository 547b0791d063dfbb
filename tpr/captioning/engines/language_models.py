"""Language models that rephrase captions: no image, one user turn."""

from types import SimpleNamespace
from typing import Any

from tpr.captioning.engines.captioners import ChatCaptioner, Images, Inputs, Instructions, Styles

VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
    "detailed, and polite answers to the user's questions. USER: {instruction} ASSISTANT:"
)
"""What Vicuna was trained with; its folder has no chat template."""


class LanguageModel(ChatCaptioner):
    """Llama, Vicuna, Mistral, Qwen: a text in, a text out."""

    sees = False

    def __init__(self, model: Any, processor: Any, *, is_padded: bool) -> None:
        """processor: a tokenizer."""
        has_template = processor.chat_template is not None
        holder = SimpleNamespace(tokenizer=processor, chat_template=processor.chat_template or VICUNA)
        super().__init__(model, holder, is_padded=is_padded)
        self.has_template = has_template

    def prompt(self, instruction: str, style: int | None = None) -> str:
        """The turn in the model's template, in Vicuna's where it has none; styles are for images."""
        if not self.has_template:
            return VICUNA.format(instruction=instruction)
        turn = [{"role": "user", "content": instruction}]
        return str(
            self.processor.tokenizer.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
        )

    def prepare(self, images: Images, instructions: Instructions, styles: Styles = None) -> Inputs:
        """Prompts, padded on the left."""
        prompts = [self.prompt(instruction or "") for instruction in instructions]
        inputs = self.processor.tokenizer(
            prompts, padding=True, return_tensors="pt", add_special_tokens=not self.begins(prompts[0])
        )
        return {name: inputs[name] for name in ("input_ids", "attention_mask")}
