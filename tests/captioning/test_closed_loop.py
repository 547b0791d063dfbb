"""The loop closes: a captioner trained here writes the captions that a retrieval system is pre-trained on."""

import json
import re
from collections import Counter
from math import comb
from pathlib import Path

import pytest
import torch
import transformers

from tpr.captioning.plan import read_plan
from tpr.captioning.progress import measure_progress
from tpr.cli import main
from tpr.drawn import draw_world

IDENTITIES = 200
SMALL_CLIP = (
    "{embed_dim: 64, image: {width: 64, layers: 2, heads: 2, patch: 8}, "
    "text: {width: 64, layers: 2, heads: 2}}"
)
CONFIG = Path(__file__).parents[2] / "configs" / "drawn" / "pretrain.yaml"


def type_words(*words: object) -> None:
    assert main([str(word) for word in words]) == 0, words


def build_small_blip(folder: Path, captions: list[str]) -> Path:
    """A BLIP of random weights that knows the words of some captions."""
    found = sorted({word for caption in captions for word in re.findall(r"\w+|[^\w\s]", caption.lower())})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *found]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    config = transformers.BlipConfig(
        text_config={
            "vocab_size": len(words), "hidden_size": 96, "encoder_hidden_size": 96, "intermediate_size": 192,
            "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 64,
            "bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0,
        },
        vision_config={
            "hidden_size": 96, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4,
            "image_size": 64, "patch_size": 16,
            "initializer_range": 0.02,  # the library's 1e-10 would hide the image
        },
    )  # fmt: skip
    processor = transformers.BlipProcessor(
        transformers.BlipImageProcessor(size={"height": 64, "width": 64}),
        transformers.BertTokenizerFast.from_pretrained(folder),
    )
    torch.manual_seed(0)
    transformers.BlipForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_captions_of_a_captioner_trained_here_teach_retrieval(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data, trained, plan = tmp_path / "data", tmp_path / "captioner", tmp_path / "plan"
    draw_world(data, sets=["cuhk_pedes", "luperson_mllm"], identities=IDENTITIES, workers=2)
    records = json.loads((data / "CUHK-PEDES" / "reid_raw.json").read_text())
    captions = [text for record in records if record["split"] == "train" for text in record["captions"]]
    blip = build_small_blip(tmp_path / "blip", captions)

    type_words(
        "caption", "finetune", "cuhk_pedes", trained, "--model", blip, "--root", data,
        "--settings", "epochs=6", "lr=1.5e-3", "workers=1",
    )  # fmt: skip
    type_words(
        "caption", "plan", "luperson_mllm", plan, "--root", data, "--engine", "transformers",
        "--engine-options", f"model={trained}", "batch=64", "max_new_tokens=60",
        "--captions", "static=1", "--filters", "full_stop=false", "--attempts", "1",
    )  # fmt: skip
    type_words("caption", "run", plan)
    progress = measure_progress(read_plan(plan))
    assert progress.captions > 0.8 * progress.plan.requests
    out = tmp_path / "captions"
    type_words("caption", "merge", plan, "--form", "luperson_mllm", "--out", out, "--labels", "blip")
    texts = json.loads((out / "Ts-blip.json").read_text())
    assert len(set(texts.values())) > len(texts) / 4, "a captioner that sees nothing repeats itself"

    type_words(
        "train", CONFIG, f"data.root={data}", f"runtime.output={tmp_path / 'runs'}",
        f"data.train=[{{name: luperson_mllm, captions: {out}, files: [Ts-blip.json]}}]",
        "data.test=[cuhk_pedes]", "data.image_size=[64, 32]", "schedule.epochs=10", "optim.lr=2e-3",
        f"model.architecture={SMALL_CLIP}", "report.ranking_queries=0", "report.tensorboard=false",
    )  # fmt: skip
    (path,) = (tmp_path / "runs").glob("*/results.json")
    (row,) = json.loads(path.read_text())["results"]["rows"]
    chance = chance_of_ten(Counter(record["id"] for record in records if record["split"] == "test"))
    # Even if all captions of a person were right or wrong together, chance alone would stay below 1.6 times.
    assert row["measures"]["r10"] > 2 * chance, f"{row} at a chance of {chance:.1f}"


def chance_of_ten(images: "Counter[int]") -> float:
    """R@10 in percent of a random order; images: of each person, with as many captions each."""
    total = images.total()
    missed = [comb(total - count, 10) / comb(total, 10) for count in images.values() for _ in range(count)]
    return 100 * (1 - sum(missed) / total)
