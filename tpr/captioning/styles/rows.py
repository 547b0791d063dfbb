"""Styles as vocabulary: a style is a few tokens of its own, and their rows of the word embedding are learned.

The model's chat template writes a style's tokens right behind the image when it is given `style=NUMBER`, so
that everything that renders chat templates (transformers, vLLM) can ask for a style. Nothing else about the
model changes: any engine loads it.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from tokenizers import AddedToken
from torch import Tensor, nn

from tpr.captioning.engines.captioners import STYLES_KEY, Captioner, ChatCaptioner
from tpr.captioning.styles.options import Init
from tpr.errors import UserError

ROWS_MULTIPLE = 64
"""Vocabularies are padded to it, since kernels are fastest at round sizes."""
TEMPLATE = (
    "{{% set styled_prompt %}}{original}{{% endset %}}"
    "{{% if style is defined and style is not none %}}"
    "{{% set styled = namespace(words='') %}}"
    "{{% for number in range({tokens}) %}}"
    "{{% set styled.words = styled.words ~ '<|style_' ~ (style * {tokens} + number) ~ '|>' %}}"
    "{{% endfor %}}"
    "{{{{ styled_prompt | replace('{place}', '{place}' ~ styled.words, 1) }}}}"
    "{{% else %}}{{{{ styled_prompt }}}}{{% endif %}}"
)


@dataclass(frozen=True)
class StyleRows:
    """Which rows of the word embedding are styles."""

    styles: int
    tokens: int
    """Rows of one style."""
    first: int
    """Row of the first style's first token; tokens below it are the model's own."""

    @property
    def end(self) -> int:
        """One more than the last row."""
        return self.first + self.styles * self.tokens

    def of(self, style: int) -> range:
        """The rows of one style. Raises UserError for a style that there is not."""
        if not 0 <= style < self.styles:
            raise UserError(f"style {style}: there are {self.styles:,} styles, numbered from 0")
        start = self.first + style * self.tokens
        return range(start, start + self.tokens)


def read_rows(config: Any) -> StyleRows | None:
    """The styles that a loaded model's config tells of; None where it has none."""
    found = getattr(config, STYLES_KEY, None)
    return None if found is None else StyleRows(**found)


def add_styles(captioner: Captioner, styles: int, tokens: int) -> StyleRows:
    """Give a model the tokens of its styles, with rows of zeros.

    Changes tokenizer, chat template, config and the sizes of two weights. Raises UserError for a model that
    cannot have styles, or has them already.
    """
    if not isinstance(captioner, ChatCaptioner):
        name = type(captioner.model).__name__
        raise UserError(f"{name} follows no instructions and has no place for styles; choose LLaVA or Qwen")
    model, processor = captioner.model, captioner.processor
    if read_rows(model.config) is not None:
        raise UserError("the model has styles already; name the model that they were trained on")
    place = _find_place(captioner)
    first = _add_tokens(processor.tokenizer, styles * tokens)
    rows = StyleRows(styles, tokens, first)
    _resize(model, rows)
    original = processor.chat_template or processor.tokenizer.chat_template
    processor.chat_template = write_template(original, place, tokens)
    processor.tokenizer.chat_template = processor.chat_template
    setattr(model.config, STYLES_KEY, asdict(rows))
    settings = model.generation_config
    size = len(model.get_input_embeddings().weight)
    settings.suppress_tokens = [*(settings.suppress_tokens or []), *range(rows.first, size)]
    return rows


def write_template(original: str, place: str, tokens: int) -> str:
    """A chat template that renders as before, and with `style` puts a style's tokens behind the place."""
    return TEMPLATE.format(original=original.removesuffix("\n"), place=place, tokens=tokens)


def _find_place(captioner: ChatCaptioner) -> str:
    """What a style follows in a prompt: the image's token, and where it has one, the token that ends it."""
    processor = captioner.processor
    token: str = processor.image_token
    end = getattr(captioner.model.config, "vision_end_token_id", None)
    if end is not None:
        ended: str = token + processor.tokenizer.convert_ids_to_tokens(end)
        if ended in captioner.prompt("describe"):
            return ended
    return token


def _add_tokens(tokenizer: Any, count: int) -> int:
    """Tokens <|style_0|> and so on behind all others; returns the number of the first."""
    words = [f"<|style_{row}|>" for row in range(count)]
    known = tokenizer.get_vocab()
    first = int(max(known.values())) + 1
    if not known.keys().isdisjoint(words):
        raise UserError("the tokenizer has words such as <|style_0|> of its own; choose another model")
    tokenizer.add_tokens(
        [AddedToken(word, special=True, normalized=False) for word in words], special_tokens=True
    )
    if tokenizer.convert_tokens_to_ids(words) != list(range(first, first + count)):
        raise UserError("the tokenizer does not number new tokens in a row; choose another model")
    return first


def _resize(model: Any, rows: StyleRows) -> None:
    """Room for the new rows, all zeros, in and out; words and their scores are untied if they were one."""
    words, scores = model.get_input_embeddings(), model.get_output_embeddings()
    size = max(len(words.weight), -(-rows.end // ROWS_MULTIPLE) * ROWS_MULTIPLE)
    with torch.no_grad():
        embedding = nn.Embedding(size, words.weight.shape[1], words.padding_idx)
        embedding.weight = nn.Parameter(_lengthen(words.weight, size, rows.first))
        head = nn.Linear(scores.weight.shape[1], size, bias=scores.bias is not None)
        head.weight = nn.Parameter(_lengthen(scores.weight, size, rows.first))
        if scores.bias is not None:
            head.bias = nn.Parameter(_lengthen(scores.bias, size, rows.first))
    model.set_input_embeddings(embedding)
    model.set_output_embeddings(head)
    text = model.config.get_text_config()
    text.vocab_size = size
    # A style's row is no word's score: tied, the model would be drawn to write what it is told.
    model.config.tie_word_embeddings = text.tie_word_embeddings = False


def _lengthen(weight: Tensor, size: int, first: int) -> Tensor:
    """The rows below `first`, and zeros; a padded vocabulary has rows there that no token uses."""
    longer: Tensor = weight.new_zeros((size, *weight.shape[1:]))
    longer[:first] = weight[:first]
    return longer


def draw_rows(model: Any, rows: StyleRows, init: Init, seed: int) -> Tensor:
    """(styles * tokens, D) float32 first values; embedding: as widely spread as the model's own words."""
    words = model.get_input_embeddings().weight
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn((rows.end - rows.first, words.shape[1]), generator=generator)
    if init == "normal":
        return drawn
    spread = float(words[: rows.first].detach().float().std())
    return drawn * spread


def set_rows(model: Any, rows: StyleRows, values: Tensor) -> None:
    """Write the styles' rows of the word embedding."""
    weight = model.get_input_embeddings().weight
    with torch.no_grad():
        weight[rows.first : rows.end] = values.to(weight)
