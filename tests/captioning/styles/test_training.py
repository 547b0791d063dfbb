"""Teaching styles to tiny models: what moves, what does not, resuming, two processes, the exported folder."""

import json
import os
import signal
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import transformers
from PIL import Image
from safetensors.torch import load_file

import tpr
from tests.captioning.styles.worlds import make_record
from tests.captioning.test_engines_transformers import make_engine
from tests.captioning.tiny_models import token
from tests.marks import slow_except
from tests.ranks import run_ranks
from tpr.captioning.engines.chat import local_messages, pad_to_square
from tpr.captioning.styles import training
from tpr.captioning.styles.batches import IGNORED, make_batch
from tpr.captioning.styles.examples import Example
from tpr.captioning.styles.export import export_styles
from tpr.captioning.styles.model import PROJECTOR, ROWS
from tpr.captioning.styles.options import TrainOptions
from tpr.captioning.styles.rows import add_styles
from tpr.captioning.styles.run_folder import LAST, LOG, cut_log, read_styles
from tpr.captioning.styles.training import StyleTrainer, rate_factor, read_data
from tpr.config.typed import build_options
from tpr.errors import CheckpointError, ConfigError, DataError, UserError

pytestmark = pytest.mark.skipif(find_spec("peft") is None, reason="needs peft")

PACKAGE = Path(tpr.__file__).parent
CHAT = ["llava", "llava_next", "qwen2_5_vl", "qwen3_vl"]
CAPTIONS = ("the coat word1 word2", "word3 the person", "word4 word5 word6 word7 word8", "describe word9")
STYLES = (2, 0, 2, 0)
TOKENS = 3


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Images and instruction data: four captions in styles 2 and 0 of five."""
    root = tmp_path_factory.mktemp("world")
    random = np.random.default_rng(0)
    for number in range(4):
        pixels = random.integers(0, 255, (96, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
    records = [
        make_record(f"{number}.png", caption, style)
        for number, (caption, style) in enumerate(zip(CAPTIONS, STYLES, strict=True))
    ]
    (root / "data.json").write_text(json.dumps(records))
    return root


def make_options(model, folder, **changes):
    values = {
        "model": str(model), "root": folder, "styles": 5, "tokens": TOKENS, "epochs": 2, "batch": 2,
        "micro_batch": 2, "lr": 0.05, "projector_lr": 0.01, "min_visual_tokens": 8, "max_visual_tokens": 64,
        "device": "cpu", "checkpointing": False, "held_out": 0.0, **changes,
    }  # fmt: skip
    return TrainOptions(**values)


def make_trainer(folder, model, root, **changes):
    folder.mkdir(parents=True, exist_ok=True)
    options = make_options(model, root, **changes)
    return StyleTrainer(folder, read_data(root / "data.json", options), options)


def trained_of(folder):
    return torch.load(folder / LAST, weights_only=True)["trained"]


def log_of(folder):
    return [json.loads(line) for line in (folder / LOG).read_text().splitlines()]


def example(style=1, caption=CAPTIONS[0]):
    return Example("0.png", "describe the person", caption, style)


@pytest.mark.parametrize("family", CHAT)
def test_a_batch_is_the_prompt_the_caption_and_its_end(folders, world, family):
    captioner = make_engine(folders(family)).captioner
    rows = add_styles(captioner, 5, TOKENS)
    examples = [example(), example(4, CAPTIONS[2])]
    inputs, labels = make_batch(captioner, examples, world, 64)
    prompts = captioner.prepare([Image.open(world / "0.png")] * 2, ["describe the person"] * 2, [1, 4])
    start = prompts["input_ids"].shape[1]
    assert torch.equal(inputs["input_ids"][:, :start], prompts["input_ids"])
    words = [token(word) for word in CAPTIONS[0].split()]
    assert labels.tolist()[0] == [*words, 2, IGNORED]
    assert inputs["input_ids"][0, start:].tolist() == [*words, 2, token("<pad>")]
    assert inputs["attention_mask"][0, start:].tolist() == [1] * 5 + [0]
    assert {value.shape for name, value in inputs.items() if "mm_token" in name} <= {
        inputs["input_ids"].shape
    }
    told = inputs["input_ids"][1]
    assert told[(told >= rows.first) & (told < rows.end)].tolist() == list(rows.of(4))
    cut = make_batch(captioner, examples, world, 3).labels
    assert cut.tolist()[0] == words[:3]


@pytest.mark.parametrize("family", CHAT)
def test_only_the_projector_and_rows_of_the_styles_at_hand_move(folders, world, tmp_path, family):
    trainer = make_trainer(tmp_path, folders(family), world)
    before = {name: value.clone() for name, value in trainer.captioner.model.state_dict().items()}
    first = trainer.model.copy_trained()
    trainer.run()
    after = trainer.captioner.model.state_dict()
    names = dict(trainer.captioner.model.named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    learns = {name for name in names if PROJECTOR.search(name) or "trainable_tokens_delta" in name}
    assert moved == learns
    assert {name for name, parameter in names.items() if parameter.requires_grad} == learns
    rows = (trainer.model.copy_trained()[ROWS] != first[ROWS]).any(1).nonzero().flatten().tolist()
    assert rows == [0, 1, 2, 6, 7, 8]


@pytest.mark.parametrize("family", slow_except({"llava"}, CHAT))
def test_an_exported_folder_writes_what_the_trained_model_writes(folders, world, tmp_path, family):
    trainer = make_trainer(tmp_path / "run", folders(family), world, epochs=3, lr=0.01, projector_lr=1e-3)
    trainer.run()
    captioner = trainer.captioner
    trainer.model.eval()
    images = [Image.open(world / f"{number}.png").convert("RGB") for number in (0, 1, 0, 2)]
    styles = [2, 0, 0, None]
    told = ["describe the person"] * 4
    wanted = captioner.answer(images, told, None, styles=styles, max_new_tokens=24, repetition_penalty=1.0)
    rows = export_styles(tmp_path / "run" / LAST, tmp_path / "model", {})
    assert rows == trainer.rows
    engine = make_engine(tmp_path / "model", max_new_tokens=24)
    found = engine.captioner.answer(
        images, told, None, styles=styles, max_new_tokens=24, repetition_penalty=1.0
    )
    assert found == wanted
    assert engine.describe()["styles"] == 5
    assert len(set(wanted)) > 1


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_plain_transformers_load_an_exported_folder_and_take_a_style(folders, world, tmp_path, family):
    trainer = make_trainer(tmp_path / "run", folders(family), world, lr=0.01, projector_lr=1e-3)
    trainer.run()
    trainer.model.eval()
    export_styles(tmp_path / "run" / LAST, tmp_path / "model", {})
    model = transformers.AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "model")
    prompt = processor.apply_chat_template(
        local_messages("describe the person"), add_generation_prompt=True, style=2
    )
    image = Image.open(world / "0.png").convert("RGB")
    if family == "llava":
        image = pad_to_square(image, (122, 116, 104))
    inputs = processor(images=[image], text=[prompt], return_tensors="pt")
    inputs.pop("token_type_ids", None)
    written = model.generate(**inputs, max_new_tokens=24, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    (wanted,) = trainer.captioner.answer(
        [image], ["describe the person"], None, styles=[2], max_new_tokens=24, repetition_penalty=1.0
    )
    assert processor.tokenizer.decode(written, skip_special_tokens=True).startswith(wanted.text)
    assert wanted.text


def test_the_loss_falls_and_a_style_says_its_own_words(folders, world, tmp_path):
    make_trainer(tmp_path, folders("llava"), world, epochs=40, batch=4, lr=0.1, log_every_steps=1).run()
    losses = [line["loss"] for line in log_of(tmp_path)]
    assert len(losses) == 40 and losses[-1] < 0.6 * losses[0]


def test_parts_and_checkpointing_change_no_step(folders, world, tmp_path):
    whole = make_trainer(tmp_path / "whole", folders("llava"), world, batch=4, micro_batch=4)
    parts = make_trainer(
        tmp_path / "parts", folders("llava"), world, batch=4, micro_batch=1, checkpointing=True
    )
    for trainer in (whole, parts):
        trainer.run()
    for name, value in trained_of(tmp_path / "whole").items():
        torch.testing.assert_close(trained_of(tmp_path / "parts")[name], value, rtol=1e-4, atol=1e-5)


def test_a_run_that_goes_on_ends_as_the_uninterrupted_one(folders, world, tmp_path):
    make_trainer(tmp_path / "whole", folders("llava"), world, epochs=3).run()
    first = make_trainer(tmp_path / "cut", folders("llava"), world, epochs=3)
    first.model.train()
    for parts in first.prepare_ahead():
        first.step(parts)
        if first.step_number == 3:
            break
    first.save(first.step_number)
    second = make_trainer(tmp_path / "cut", folders("llava"), world, epochs=3, micro_batch=2)
    assert second.step_number == 3
    second.run()
    whole, cut = trained_of(tmp_path / "whole"), trained_of(tmp_path / "cut")
    assert all(torch.equal(cut[name], value) for name, value in whole.items())
    third = make_trainer(tmp_path / "cut", folders("llava"), world, epochs=3)
    third.run()
    assert all(torch.equal(trained_of(tmp_path / "cut")[name], value) for name, value in whole.items())


def test_sigterm_ends_after_the_step_under_way_with_a_checkpoint(folders, world, tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path, folders("llava"), world)
    step = trainer.step

    def step_and_kill(parts):
        if trainer.step_number == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(parts)

    monkeypatch.setattr(trainer, "step", step_and_kill)
    with pytest.raises(SystemExit) as stop:
        trainer.run()
    assert stop.value.code == 128 + signal.SIGTERM
    assert make_trainer(tmp_path, folders("llava"), world).step_number == 2


def test_bf16_trains_what_learns_in_float32(folders, world, tmp_path):
    trainer = make_trainer(tmp_path, folders("llava"), world, precision="bf16")
    trainer.run()
    assert {value.dtype for value in trained_of(tmp_path).values()} == {torch.float32}
    frozen = trainer.captioner.model.get_output_embeddings().weight
    assert frozen.dtype == torch.bfloat16
    export_styles(tmp_path / LAST, tmp_path / "model", {})
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.bfloat16}


def test_rates_follow_hams_schedule_or_a_cosine():
    ham = TrainOptions(model="m", schedule="log_constant", warmup=0.1, lr=4e-4)
    # 4e-4 ln(step + 1) / ln(100) in the first 100 of 1000 steps, then flat.
    found = [4e-4 * rate_factor(ham, step, 1000) for step in (0, 1, 9, 49, 99, 100, 999)]
    assert found == pytest.approx([0, 0.6021e-4, 2e-4, 3.3979e-4, 4e-4, 4e-4, 4e-4], abs=5e-9)
    ours = TrainOptions(model="m", warmup=0.1)
    found = [rate_factor(ours, step, 100) for step in (0, 9, 10, 55, 99)]
    assert found == pytest.approx([1 / 11, 10 / 11, 1, 0.5, 0.0003], abs=1e-4)
    assert rate_factor(TrainOptions(model="m", warmup=0), 0, 1) == 1


def test_every_caption_is_learned_once_per_epoch_in_an_order_of_its_seed(folders, world, tmp_path):
    trainer = make_trainer(tmp_path, folders("llava"), world)
    orders = [[e.image for step in steps for e in trainer.choose(step)] for steps in ((0, 1), (2, 3))]
    assert [sorted(order) for order in orders] == [[f"{number}.png" for number in range(4)]] * 2
    odd = make_trainer(tmp_path / "odd", folders("llava"), world, batch=3)
    filled = [e.image for step in (0, 1) for e in odd.choose(step)]
    assert odd.total_steps == 4 and filled[4:] == filled[:2] and len(set(filled)) == 4


def train_rank(rank, folder, model, root):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2"}
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    make_trainer(folder / "two", model, root, batch=3, micro_batch=1, epochs=1).run()
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.ddp
def test_two_processes_train_what_one_does(folders, world, tmp_path):
    run_ranks(train_rank, (tmp_path, folders("llava"), world))
    make_trainer(tmp_path / "one", folders("llava"), world, batch=3, epochs=1).run()
    one, two = trained_of(tmp_path / "one"), trained_of(tmp_path / "two")
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-5)


def write_two_habits(root, images=12):
    """Of the same images, style 0 always says one thing and style 1 another."""
    random = np.random.default_rng(0)
    records = []
    for number in range(images):
        pixels = random.integers(0, 255, (64, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
        for style, caption in enumerate(("word1 word2 word3 word4", "word5 word6 word7 word8")):
            records.append(make_record(f"{number}.png", caption, style))
    (root / "data.json").write_text(json.dumps(records))
    return root


@pytest.mark.slow
def test_styles_make_words_of_people_who_were_not_seen_likelier(folders, tmp_path):
    root = write_two_habits(tmp_path)
    trainer = make_trainer(
        tmp_path / "run", folders("llava"), root,
        styles=2, held_out=0.25, batch=8, micro_batch=8, epochs=16, lr=0.1, projector_lr=1e-3,
    )  # fmt: skip
    learned, held = ({e.image for e in part} for part in (trainer.data.examples, trainer.data.held))
    assert held and not learned & held and len(learned | held) == 12
    trainer.run()
    gaps = [line for line in log_of(tmp_path / "run") if "own_style" in line]
    assert len(gaps) == 16
    assert gaps[-1]["own_style"] < gaps[0]["own_style"]
    assert gaps[-1]["own_style"] < gaps[-1]["other_style"] - 0.7


def test_a_log_is_cut_where_a_run_goes_on(tmp_path):
    (tmp_path / LOG).write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    cut_log(tmp_path, 2)
    assert log_of(tmp_path) == [{"step": 1}, {"step": 2}]


def test_a_log_of_another_program_is_one_line(tmp_path):
    for content in ('{"step": 1}\nloss 0.3\n', '{"loss": 1}\n', "[]\n", '{"step": "1"}\n'):
        (tmp_path / LOG).write_text(content)
        with pytest.raises(DataError, match=f"{LOG}: has a line that this program did not write; put"):
            cut_log(tmp_path, 2)
        assert (tmp_path / LOG).read_text() == content


def test_a_damaged_state_is_neither_gone_on_with_nor_exported(folders, world, tmp_path):
    make_trainer(tmp_path, folders("llava"), world, epochs=1).run()
    path = tmp_path / LAST
    state = torch.load(path, weights_only=True)
    own = state["trained"][ROWS]
    states = [
        ({"step": 9}, "it stands at step 9 of 2"),
        ({"trained": {**state["trained"], ROWS: own[:1]}}, rf"weights: '{ROWS}' is \[1, "),
        ({"trained": {**state["trained"], ROWS: own * float("inf")}}, f"weights: '{ROWS}' is not finite"),
        ({"optimizer": {"param_groups": []}}, "optimizer: expected 2 groups"),
    ]
    for change, problem in states:
        training.write_checkpoint(path, state | change)
        with pytest.raises(CheckpointError, match=f"{LAST}: not a state that this run .*: {problem}"):
            make_trainer(tmp_path, folders("llava"), world, epochs=1)
    for change, problem in (
        ({"rows": {"styles": 5}}, "rows: expected whole numbers for styles, tokens, first"),
        ({"options": 1}, "options of another type than expected"),
        ({"trained": {ROWS: 1}}, "trained: not all are tensors"),
    ):
        training.write_checkpoint(path, state | change)
        with pytest.raises(CheckpointError, match=problem):
            read_styles(path)
    training.write_checkpoint(path, state | {"trained": {}})
    with pytest.raises(CheckpointError, match="do not fit the model"):
        export_styles(path, tmp_path / "model", {})


def test_another_run_is_not_gone_on_with(folders, world, tmp_path):
    make_trainer(tmp_path, folders("llava"), world, epochs=1).run()
    with pytest.raises(ConfigError, match="is of a run with epochs=1, lr=0.05; choose another folder"):
        make_trainer(tmp_path, folders("llava"), world, epochs=2, lr=0.1, save_every_steps=7)


def test_nothing_imports_peft_but_training():
    files = [path for path in PACKAGE.rglob("*.py") if "import peft" in path.read_text()]
    files += [path for path in PACKAGE.rglob("*.py") if "from peft" in path.read_text()]
    assert [path.name for path in files] == ["model.py"]
    lines = [line for line in files[0].read_text().splitlines() if "from peft" in line]
    assert all(line.startswith("    ") for line in lines), "peft is imported inside of a function"


def test_a_missing_extra_is_named_before_the_model_is_read(world, tmp_path, monkeypatch):
    monkeypatch.setattr("tpr.captioning.styles.model.find_spec", lambda name: None)
    with pytest.raises(
        UserError, match=r"needs peft, which is not installed; run `pip install 'tpr\[captions\]'`"
    ):
        make_trainer(tmp_path, tmp_path / "no model", world)


def test_bad_input_is_one_line(folders, world, tmp_path):
    cases = [
        (folders("blip"), {}, UserError, "follows no instructions"),
        (tmp_path / "absent", {}, CheckpointError, "no such folder"),
        (folders("llava"), {"root": tmp_path}, DataError, "`root` names the folder"),
        (folders("llava"), {"held_out": 1.0}, DataError, "all its images are held out"),
        (
            folders("llava"),
            {"lr": 1e30, "clip": 1e30, "projector_lr": 1e30},
            UserError,
            "gradient is not finite",
        ),
    ]
    for number, (model, changes, kind, message) in enumerate(cases):
        options = make_options(model, world, **changes)
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(kind, match=message) as caught:
            StyleTrainer(folder, read_data(world / "data.json", options), options).run()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"batch": 0}, "batch: expected int >= 1"),
        ({"styles": 0}, r"styles: expected int in \[1, 1000000\]"),
        ({"lr": 0}, "lr: expected float > 0"),
        ({"warmup": 2}, r"warmup: expected float in \[0, 1\]"),
        ({"schedule": "step"}, "expected one of cosine, log_constant"),
        ({"max_visual_tokens": 5}, "max_visual_tokens must not be below"),
        ({"modle": "x"}, "no such option"),
    ],
)
def test_wrong_options_are_named(values, message):
    with pytest.raises(ConfigError, match=message):
        build_options(TrainOptions, {"model": "folder", **values}, {}, "")


def test_what_cannot_be_exported_is_one_line(folders, world, tmp_path):
    make_trainer(tmp_path / "run", folders("llava"), world, epochs=1).run()
    last = tmp_path / "run" / LAST
    with pytest.raises(ConfigError, match="is not empty"):
        export_styles(last, tmp_path / "run", {})
    # What a file manager leaves makes a folder no less empty.
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / ".DS_Store").touch()
    with pytest.raises(CheckpointError, match="was trained on another model than|does not fit the model"):
        export_styles(last, tmp_path / "model", {"model": str(folders("qwen3_vl"))})
    (tmp_path / "bad.pt").write_bytes(b"PK no checkpoint")
    with pytest.raises(CheckpointError, match="bad.pt"):
        export_styles(tmp_path / "bad.pt", tmp_path / "model", {})
    training.write_checkpoint(tmp_path / "other.pt", {"model": {}})
    with pytest.raises(CheckpointError, match="holds no annotator styles"):
        export_styles(tmp_path / "other.pt", tmp_path / "model", {})
