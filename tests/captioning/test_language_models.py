"""Language models rephrase captions, with a chat template or in Vicuna's words."""

from pathlib import Path

import pytest

from tests.captioning.test_engines_transformers import make_engine
from tests.captioning.tiny_models import build_tiny
from tpr.captioning.engines import CaptionReply, CaptionRequest
from tpr.captioning.engines.language_models import VICUNA
from tpr.errors import UserError

TEXTS = ["describe the person", "the coat", "word1 word2 word3 word4 the person"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny("llama", tmp_path_factory.mktemp("models") / "llama")


def ask(text: str, path: Path | None = None, seed: int = 7) -> CaptionRequest:
    return CaptionRequest(
        image="a.jpg", path=path, view="rephrase-0", instruction=text, template=None, style=None, seed=seed
    )


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_a_text_does_not_depend_on_its_batch(folder: Path, temperature: float) -> None:
    requests = [ask(text, seed=seed) for seed, text in enumerate(TEXTS)]
    together = make_engine(folder, batch=3, temperature=temperature).generate(requests)
    alone = make_engine(folder, batch=1, temperature=temperature)
    assert together == [alone.generate([request])[0] for request in requests]
    assert len({reply.text for reply in together}) == 3
    assert all(isinstance(reply, CaptionReply) and reply.text for reply in together)


def test_prompts_end_where_the_answer_begins_and_are_padded_on_the_left(folder: Path) -> None:
    captioner = make_engine(folder).captioner
    inputs = captioner.prepare([], TEXTS)
    assert (inputs["attention_mask"][:, -1] == 1).all() and inputs["attention_mask"][1, 0] == 0
    end = captioner.processor.tokenizer.decode(inputs["input_ids"][1])
    assert end.endswith("USER : the coat ASSISTANT :")


def test_without_a_template_vicunas_is_used(tmp_path: Path, folder: Path) -> None:
    captioner = make_engine(folder).captioner
    tokenizer = captioner.processor.tokenizer
    tokenizer.chat_template = None
    plain = type(captioner)(captioner.model, tokenizer, is_padded=False)
    assert plain.prompt("the coat") == VICUNA.replace("{instruction}", "the coat")
    assert plain.prompt("the coat").endswith("USER: the coat ASSISTANT:")


def test_the_wrong_kind_of_model_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="sees no images"):
        make_engine(folder).generate([ask("the coat", tmp_path / "a.jpg")])
    blip = build_tiny("blip", tmp_path / "blip")
    with pytest.raises(UserError, match="rephrasing takes a language model"):
        make_engine(blip).generate([ask("the coat")])
