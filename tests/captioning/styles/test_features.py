"""Style features of a small set: rows, rewriting, encoding, files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.captioning.styles.worlds import make_features, write_clip, write_world
from tests.systems.small_systems import SMALL
from tpr.captioning.styles.features import ABOUT, encode_texts, load_encoder, read_features
from tpr.captioning.styles.options import EncoderOptions
from tpr.data.text.tokens import tokenize
from tpr.errors import CheckpointError, ConfigError, DataError
from tpr.models.clip import ClipOptions, ClipTowers
from tpr.systems import load_system


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_world(tmp_path_factory.mktemp("world") / "data")


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.pt")


def encode(texts, options):
    return encode_texts(load_encoder(options), texts, options)


def test_every_training_caption_has_a_row(tmp_path: Path, root: Path, clip: Path) -> None:
    features = make_features(tmp_path / "features", root, clip)
    rows = features.texts.to_pylist()
    assert len(rows) == 24 == len(features.features)
    assert rows[0] == {
        "set": "cuhk_pedes",
        "image": "CUHK-PEDES/imgs/cam_a/0_0.jpg",
        "identity": 1,
        "caption": "A young man in a red shirt walks away.",
        "text": "A person in a colored top walks away.",
        "by": "words",
    }
    assert {row["identity"] for row in rows} == {1, 2, 3, 4, 5, 6}
    same = [row["text"] == rows[0]["text"] for row in rows]
    assert sum(same) > 1
    assert (features.features[same] == features.features[0]).all(), "equal texts have equal features"
    again = read_features(tmp_path / "features")
    assert again.texts.equals(features.texts) and np.array_equal(again.features, features.features)


def test_the_same_again_gives_the_same_bytes(tmp_path: Path, root: Path, clip: Path) -> None:
    for name in ("one", "two"):
        make_features(tmp_path / name, root, clip)
    one, two = (json.loads((tmp_path / name / ABOUT).read_text())["files"] for name in ("one", "two"))
    assert one == two


def test_features_are_those_of_the_text_tower(clip: Path) -> None:
    texts = ["a person", "the person walks", "a person"]
    options = EncoderOptions(weights=str(clip), device="cpu", batch=1)
    unit = encode(texts, options)
    assert np.allclose(unit, load_system(clip).encode_texts(texts).numpy(), atol=1e-6)
    raw = encode(texts, EncoderOptions(weights=str(clip), device="cpu", normalise=False))
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    assert not np.allclose(lengths, 1, atol=0.05) and np.allclose(raw / lengths, unit, atol=1e-6)
    assert encode(["word " * 200], options).shape == (1, SMALL.embed_dim)


@pytest.mark.slow
def test_an_architecture_of_open_clip_can_be_named(tmp_path: Path) -> None:
    """No file tells its activation: the name decides between GELU and QuickGELU."""
    torch.manual_seed(0)
    clip = ClipOptions(architecture="ViT-S-32-alt")
    towers = ClipTowers(clip, image_size=(224, 224), text_length=77).eval()
    torch.save(towers.state_dict(), tmp_path / "clip.pt")
    named, bare = (
        encode(
            ["a person"],
            EncoderOptions(
                weights=str(tmp_path / "clip.pt"), device="cpu", architecture=name, normalise=False
            ),
        )
        for name in ("ViT-S-32-alt", None)
    )
    with torch.inference_mode():
        wanted = towers.encode_text(tokenize(["a person"])).pooled.numpy()
    assert np.allclose(named, wanted, atol=1e-6) and not np.allclose(bare, wanted, atol=1e-3)


def test_weights_that_cannot_be_had_are_told_under_their_name_here() -> None:
    with pytest.raises(
        CheckpointError, match="--encoder weights=nothing: no such file, and ViT-B-16-quickgelu"
    ):
        encode(["a person"], EncoderOptions(weights="nothing"))
    with pytest.raises(ConfigError, match="--encoder architecture: 'ViT-Q' is not known"):
        encode(["a person"], EncoderOptions(weights="openai", architecture="ViT-Q"))


def test_what_is_not_as_written_is_one_line(tmp_path: Path, root: Path, clip: Path) -> None:
    folder = tmp_path / "features"
    with pytest.raises(DataError, match="features.json: not found; `tpr style features` makes it"):
        read_features(folder)
    make_features(folder, root, clip)
    with pytest.raises(ConfigError, match="holds style features already"):
        make_features(folder, root, clip)
    np.save(folder / "features.npy", np.zeros((24, 32), dtype=np.float32))
    with pytest.raises(DataError, match="features.npy: was changed after it was written"):
        read_features(folder)
    (folder / ABOUT).write_text("{")
    with pytest.raises(DataError, match="features.json: cannot be read"):
        read_features(folder)
