"""Weights by tag or path; what is said without a network."""

import pytest

from tests.systems.small_systems import SMALL
from tpr.errors import CheckpointError, ConfigError
from tpr.models import ClipOptions, download
from tpr.models.download import find_imagenet, find_weights


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_a_path_is_taken_as_it_is(tmp_path):
    (tmp_path / "clip.pt").write_bytes(b"x")
    assert find_weights(ClipOptions(weights=str(tmp_path / "clip.pt"))) == tmp_path / "clip.pt"


def test_a_tag_is_fetched_by_open_clip(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        download, "download_pretrained", lambda cfg, cache_dir: asked.append(cfg) or str(tmp_path / "file")
    )
    assert find_weights(ClipOptions(weights="openai")) == tmp_path / "file"
    assert "ViT-B-16.pt" in asked[0]["url"]


@pytest.mark.parametrize("error", [OSError("no route to host\nmore"), RuntimeError("wrong checksum")])
def test_without_a_network_the_message_says_what_to_fetch_and_where_to_put_it(monkeypatch, error):
    def fail(published, cache_dir):
        raise error

    monkeypatch.setattr(download, "download_pretrained", fail)
    with pytest.raises(CheckpointError) as found:
        find_weights(ClipOptions(weights="openai"))
    message = str(found.value)
    assert message.startswith(f"model.weights=openai: cannot be fetched ({str(error).splitlines()[0]})")
    assert "/ViT-B-16.pt on a machine with a network" in message
    assert message.endswith("set model.weights=PATH") and "\n" not in message


def test_an_unknown_tag_lists_the_tags():
    with pytest.raises(CheckpointError, match="opnai: no such file, and .* has no such tag; tags: .*openai"):
        find_weights(ClipOptions(weights="opnai"))


def test_sizes_given_inline_have_no_tags():
    with pytest.raises(CheckpointError, match="no such file; sizes given inline have no tags"):
        find_weights(ClipOptions(architecture=SMALL, weights="openai"))


def test_weights_of_the_other_activation_are_refused():
    with pytest.raises(ConfigError, match="with QuickGELU; set model.architecture=ViT-B-16-quickgelu"):
        find_weights(ClipOptions(architecture="ViT-B-16", weights="openai"))


def test_the_option_that_named_the_weights_is_named():
    with pytest.raises(
        CheckpointError, match="^model.text_weights=opnai: no such file, and RN50-quickgelu has"
    ):
        find_weights(ClipOptions(architecture="RN50-quickgelu", weights="opnai"), "model.text_weights")


def test_imagenet_is_fetched_by_torchvision_s_address(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        "torch.hub.load_state_dict_from_url",
        lambda url, *given, **named: asked.append((url, named["check_hash"])),
    )
    assert find_imagenet("imagenet") == tmp_path / "cache" / "clip" / "resnet50-0676ba61.pth"
    assert asked == [("https://download.pytorch.org/models/resnet50-0676ba61.pth", True)]
    (tmp_path / "own.pth").write_bytes(b"x")
    assert find_imagenet(str(tmp_path / "own.pth")) == tmp_path / "own.pth"


def test_imagenet_without_a_network_says_what_to_fetch(monkeypatch):
    def fail(*given, **named):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", fail)
    with pytest.raises(
        CheckpointError, match="^model.weights=imagenet: cannot be fetched .no route.*0676ba61"
    ):
        find_imagenet("imagenet")
    with pytest.raises(
        CheckpointError, match="model.weights=imagnet: no such file, and no such tag; tags: imagenet"
    ):
        find_imagenet("imagnet")
