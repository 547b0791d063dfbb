"""The engine for local models, on tiny ones of every family that are built here."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from tests.captioning.tiny_models import BUILDERS, ENDS, build_tiny, token
from tests.marks import slow_except
from tpr.captioning.engines import transformers_loading
from tpr.captioning.engines.base import CaptionReply, CaptionRequest
from tpr.captioning.engines.sampling import SeededSampling, draw_tokens
from tpr.captioning.engines.transformers_models import TransformersModel
from tpr.config.typed import build_options
from tpr.errors import CheckpointError, ConfigError, UserError

CHAT = ["llava", "llava_next", "qwen2_5_vl", "qwen3_vl"]
SIZES = [(128, 48), (96, 40), (200, 80), (60, 60)]
IMAGE_TOKEN = {"llava": "<image>", "llava_next": "<image>", "qwen2_5_vl": "<|image_pad|>"}
IMAGE_TOKEN["qwen3_vl"] = IMAGE_TOKEN["qwen2_5_vl"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for index, (height, width) in enumerate(SIZES):
        pixels = random.integers(0, 255, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return [folder / f"{index}.png" for index in range(len(SIZES))]


def make_engine(folder, **changes):
    values = {"max_new_tokens": 40, "min_visual_tokens": 8, "max_visual_tokens": 64, **changes}
    return TransformersModel(TransformersModel.Options(model=str(folder), device="cpu", **values))


def ask(path, words="describe the person", seed=7):
    return CaptionRequest(
        image=path.name, path=path, view="static-0", instruction=words, template=None, style=None, seed=seed
    )


def ask_all(images):
    return [ask(path, "describe the person" + " coat" * index, index) for index, path in enumerate(images)]


@pytest.mark.slow
@pytest.mark.parametrize("temperature", slow_except({1.0}, [0.0, 1.0]))
@pytest.mark.parametrize("family", BUILDERS)
def test_a_text_does_not_depend_on_its_batch(folders, images, family, temperature):
    engine = make_engine(folders(family), temperature=temperature, top_p=0.95)
    requests = ask_all(images)
    together = engine.generate(requests)
    alone = [engine.generate([request])[0] for request in requests]
    backwards = engine.generate(requests[::-1])[::-1]
    assert together == alone == backwards
    if family != "blip" or temperature:  # a greedy random BLIP likes one word best, whatever it sees
        assert len({str(reply) for reply in together}) >= 2, "gibberish that never differs proves nothing"


@pytest.mark.parametrize("family", BUILDERS)
def test_another_engine_writes_the_same(folders, images, family):
    first, second = (make_engine(folders(family), temperature=1.0).generate(ask_all(images)) for _ in "ab")
    assert first == second


@pytest.mark.parametrize("family", ["blip", "llava"])
def test_the_seed_alone_decides_what_is_sampled(folders, images, family):
    engine = make_engine(folders(family), temperature=1.5, top_p=1.0)
    texts = engine.generate([ask(images[0], seed=seed) for seed in (1, 2, 3, 1)])
    assert texts[0] == texts[3]
    assert len({str(reply) for reply in texts}) > 1


@pytest.mark.parametrize("family", CHAT)
def test_prompts_are_padded_on_the_left(folders, images, family):
    captioner = make_engine(folders(family)).captioner
    opened = [Image.open(path) for path in images[:1] * 2]
    inputs = captioner.prepare(opened, ["describe", "describe the person"])
    assert inputs["attention_mask"][0].tolist() == sorted(inputs["attention_mask"][0].tolist())
    assert int(inputs["attention_mask"][0].sum()) == inputs["input_ids"].shape[1] - 2
    assert int(inputs["input_ids"][0, 0]) == token("<pad>")


TOKENS = {
    # 32 x 32 pixels in patches of 8.
    "llava": 16,
    # The overview's 16; of the tile grids 96 x 32 fits best, 12 x 4 patches, of which a person of 128 x 48 in
    # proportion fills 10 x 4, and each of these rows ends with a new line.
    "llava_next": 16 + 10 * 4 + 10,
    # 128 x 48 pixels in cells of 28, then of 32 pixels; half a cell is rounded to an even number.
    "qwen2_5_vl": 5 * 2,
    "qwen3_vl": 4 * 2,
}
"""What an image of 128 x 48 pixels takes by the published rules."""


@pytest.mark.parametrize("family", CHAT)
def test_an_image_takes_the_tokens_that_its_size_gives(folders, images, family):
    captioner = make_engine(folders(family)).captioner
    inputs = captioner.prepare([Image.open(images[0])], ["describe"])
    assert int((inputs["input_ids"] == token(IMAGE_TOKEN[family])).sum()) == TOKENS[family]


@pytest.mark.parametrize("family", ["qwen2_5_vl", "qwen3_vl"])
def test_the_default_gives_a_crop_enough_tokens(folders, family):
    engine = make_engine(folders(family), min_visual_tokens=256, max_visual_tokens=1280)
    inputs = engine.captioner.prepare(
        [Image.new("RGB", (128, 384)), Image.new("RGB", (3000, 3000))], ["describe"] * 2
    )
    counts = (inputs["input_ids"] == token("<|image_pad|>")).sum(1).tolist()
    assert counts[0] == 280  # 28 x 10 cells; the processor's own limits would give 70
    assert 1200 < counts[1] <= 1280


def test_limits_that_a_folder_brings_are_replaced(folders, tmp_path, images):
    folder = build_tiny("qwen2_5_vl", tmp_path / "model")
    path = folder / "preprocessor_config.json"  # transformers 5 keeps it inside of another file
    path = path if path.exists() else folder / "processor_config.json"
    settings = json.loads(path.read_text())
    inner = settings.get("image_processor", settings)
    inner.pop("size", None)
    inner["min_pixels"], inner["max_pixels"] = 28 * 28 * 2, 28 * 28 * 4
    path.write_text(json.dumps(settings))
    inputs = make_engine(folder).captioner.prepare([Image.open(images[0])], ["describe"])
    assert int((inputs["input_ids"] == token("<|image_pad|>")).sum()) == TOKENS["qwen2_5_vl"]


@pytest.mark.parametrize("edge", ["head", "feet", "left", "right"])
@pytest.mark.parametrize("family", BUILDERS)
def test_nothing_of_a_person_is_cropped(folders, family, edge):
    plain = np.full((384, 128, 3), 100, dtype=np.uint8)
    marked = plain.copy()
    place = {"head": np.s_[:24], "feet": np.s_[-24:], "left": np.s_[:, :24], "right": np.s_[:, -24:]}[edge]
    marked[place] = 250
    captioner = make_engine(folders(family)).captioner
    inputs = [captioner.prepare([Image.fromarray(pixels)], ["describe"]) for pixels in (plain, marked)]
    changed = inputs[0]["pixel_values"] != inputs[1]["pixel_values"]
    assert changed.any(), f"the {edge} never reaches the model"
    if family == "llava":  # upright in the middle of a square of the tower's size, by rows and columns
        rows, columns = changed[0, 0].any(1).nonzero().flatten(), changed[0, 0].any(0).nonzero().flatten()
        assert {"head": rows[0] == 0, "feet": rows[-1] == 31}.get(edge, True)
        assert columns[0] >= 8 and columns[-1] <= 23  # 10.7 to 21.3, and what the filter spreads


def test_the_library_by_itself_would_crop(folders):
    """The trap that the engine avoids; if this fails one day, the engine's care can go."""
    processor = transformers.AutoProcessor.from_pretrained(folders("llava"))
    plain = np.full((384, 128, 3), 100, dtype=np.uint8)
    marked = plain.copy()
    marked[:24] = 250
    first, second = (
        processor.image_processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
        for pixels in (plain, marked)
    )
    assert torch.equal(first, second)


def test_an_instruction_begins_blips_caption_only_if_asked(folders, images):
    plain, told = (make_engine(folders("blip"), begin_with_instruction=is_told) for is_told in (False, True))
    requests = [ask(images[2], "a picture of"), ask(images[2], "a"), ask(images[0], "a picture of")]
    replies = told.generate(requests)
    assert replies == [told.generate([request])[0] for request in requests]
    begun = [reply.text for reply in replies]
    assert any(begun)
    for request, text in zip(requests, begun, strict=True):
        assert text is None or text.startswith(request.instruction)
    assert plain.generate(requests[:1]) == plain.generate(requests[1:2])


def test_a_text_without_an_end_is_truncated(folders, images):
    engine = make_engine(folders("llava"), max_new_tokens=1)
    engine.captioner.model.generation_config.eos_token_id = [2]
    assert engine.generate([ask(images[0])]) == [CaptionReply(text=None, failure="truncated")]


def test_what_a_folder_says_of_generation_is_kept_or_replaced(folders, images):
    engine = make_engine(folders("llava"), repetition_penalty=1.25)
    settings = engine.captioner.model.generation_config
    settings.suppress_tokens = list(range(60, 80))
    settings.do_sample, settings.temperature, settings.num_beams = True, 0.3, 4
    texts = [reply.text or "" for reply in engine.generate(ask_all(images))]
    assert (settings.do_sample, settings.num_beams, settings.repetition_penalty) == (False, 1, 1.25)
    assert settings.eos_token_id == ENDS
    forbidden = {f"word{index - 16}" for index in range(60, 80)}
    assert not forbidden & set(" ".join(texts).split())


def test_unreadable_and_hopeless_images_fail_alone(folders, images, tmp_path):
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    Image.new("RGB", (500, 2)).save(tmp_path / "line.png")
    engine = make_engine(folders("qwen2_5_vl"))
    paths = [tmp_path / "bad.jpg", images[0], tmp_path / "absent.jpg", tmp_path / "line.png"]
    replies = engine.generate([ask(path) for path in paths])
    bad = CaptionReply(text=None, failure="unreadable image", is_fatal=True)
    assert [replies[0], replies[2], replies[3]] == [bad] * 3
    assert replies[1] == engine.generate([ask(images[0])])[0]
    assert engine.generate([ask(paths[0])]) == [bad]
    assert engine.generate([]) == []


def test_an_instruction_with_an_image_token_is_refused(folders, images):
    with pytest.raises(UserError, match=r"has 2 places for one image.*'<image>'"):
        make_engine(folders("llava")).generate([ask(images[0], "describe <image>")])


def test_describe_names_model_class_precision_and_versions(folders):
    told = make_engine(folders("llava")).describe()
    assert json.loads(json.dumps(told)) == told
    assert told["model"] == str(folders("llava"))
    assert (told["class"], told["precision"]) == ("LlavaForConditionalGeneration", "float32")
    assert told["transformers"] == transformers.__version__


def test_bf16_is_there_if_asked_for(folders, images):
    engine = make_engine(folders("llava"), precision="bf16")
    assert engine.describe()["precision"] == "bfloat16"
    assert len(engine.generate([ask(images[0])])) == 1


def copy_of(folders, family, folder):
    return shutil.copytree(folders(family), folder)


def edit(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refuse(folder, kind, message, **changes):
    with pytest.raises(kind, match=message) as caught:
        make_engine(folder, **changes)
    assert "\n" not in str(caught.value)


def test_a_missing_folder_mentions_the_hub(tmp_path):
    refuse(tmp_path / "absent", CheckpointError, "no such folder$")
    refuse("models/blip", CheckpointError, "no such folder; .* is written hub:models/blip$")
    refuse(tmp_path, CheckpointError, "has no config.json")
    refuse("hub:blip", ConfigError, "is written hub:ORG/NAME")


def test_a_model_that_is_no_captioner_is_refused(tmp_path, folders):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    refuse(tmp_path, UserError, "is of type 'bert', no captioner that is known here; known: blip, llava,")
    folder = copy_of(folders, "blip", tmp_path / "blip")
    edit(folder / "config.json", architectures=["BlipForQuestionAnswering"])
    refuse(folder, UserError, "holds BlipForQuestionAnswering, no captioner; expected BlipForCond")


def test_a_family_that_this_transformers_lacks_names_the_version(folders, monkeypatch):
    monkeypatch.setattr(transformers_loading, "transformers", OldTransformers())
    refuse(
        folders("blip"),
        UserError,
        r"needs transformers 4\.22 or newer for BlipFor.*installed is 4\.0.*pip install",
    )


class OldTransformers:
    """A transformers that knows no model at all."""

    __version__ = "4.0.0"
    utils = transformers.utils
    PretrainedConfig = transformers.PretrainedConfig


def test_weights_with_gaps_are_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copy_of(folders, "llava", tmp_path / "llava")
    tensors = load_file(folder / "model.safetensors")
    dropped = sorted(name for name in tensors if "layers.1" in name)
    save_file({name: tensors[name] for name in tensors if name not in dropped}, folder / "model.safetensors",
              metadata={"format": "pt"})  # fmt: skip
    refuse(folder, CheckpointError, f"its weights lack {len(dropped)} tensors, such as")


def test_damaged_weights_and_a_missing_template_are_one_line(folders, tmp_path):
    folder = copy_of(folders, "llava", tmp_path / "damaged")
    (folder / "model.safetensors").write_bytes(b"half")
    refuse(folder, CheckpointError, "cannot be read")
    (folder / "model.safetensors").unlink()
    refuse(folder, CheckpointError, "cannot be read")
    folder = copy_of(folders, "llava", tmp_path / "mute")
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    for path in folder.glob("*.json"):
        settings = json.loads(path.read_text())
        if settings.pop("chat_template", None) is not None:
            path.write_text(json.dumps(settings))
    refuse(folder, UserError, "has no chat template; put the model's chat_template.jinja next to")


def test_a_missing_package_names_the_extra(folders, monkeypatch):
    def fail(*args, **kwargs):
        raise ImportError("requires the sentencepiece library\nbut it was not found")

    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", fail)
    refuse(
        folders("blip"), UserError, r"requires the sentencepiece library; run `pip install 'tpr\[captions\]'`"
    )


def test_no_gpu_where_one_was_asked_for(folders, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="device=cuda, but torch sees no GPU"):
        TransformersModel(TransformersModel.Options(model=str(folders("blip")), device="cuda"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch": 0}, "batch: expected int >= 1"),
        ({"temperature": -1}, "temperature: expected float >= 0"),
        ({"top_p": 1.5}, r"top_p: expected float in \(0, 1\]"),
        ({"max_visual_tokens": 5}, "max_visual_tokens must not be below"),
        ({"revision": "abc"}, "revision is for hub:ORG/NAME"),
        ({"precision": "fp16"}, "expected one of auto, float32, bf16"),
    ],
)
def test_wrong_options_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        build_options(TransformersModel.Options, {"model": "folder", **values}, {}, "engine")


def test_draws_follow_the_distribution():
    logits = torch.tensor([[2.0, 0.0, 1.0, -1.0]])
    numbers = (torch.arange(4000, dtype=torch.float64)[:, None] + 0.5) / 4000
    found = torch.bincount(draw_tokens(logits.expand(4000, 4), numbers, 1.0).flatten(), minlength=4) / 4000
    assert torch.allclose(found, logits[0].softmax(0), atol=1 / 2000)


def test_top_p_leaves_the_likeliest_tokens_that_reach_it():
    logits = torch.tensor([0.1, 0.5, 0.3, 0.1]).log()[None].expand(1000, 4)
    numbers = torch.arange(1000, dtype=torch.float64)[:, None] / 1000
    found = torch.bincount(draw_tokens(logits, numbers, 0.7).flatten(), minlength=4) / 1000
    # 0.5 alone is less than 0.7, with 0.3 it is more: those two remain, in their proportion.
    assert found.tolist() == pytest.approx([0, 0.625, 0.375, 0], abs=2e-3)
    assert set(draw_tokens(logits, numbers, 0.4).flatten().tolist()) == {1}


def test_sampling_leaves_one_token_and_never_a_forbidden_one():
    scores = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    scores[:, :40] = -torch.inf
    sampling = SeededSampling([1, 2, 1], length=5, temperature=5.0, top_p=1.0)
    left = sampling(torch.zeros(3, 1, dtype=torch.long), scores)
    assert (left == 0).sum(1).tolist() == [1, 1, 1] and torch.isinf(left).sum() == 3 * 49
    assert (left.argmax(1) >= 40).all()
