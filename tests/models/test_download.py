"""Weights by tag or path; what is said without a network."""

import pytest

from tests.systems.small_systems import SMALL
from tpr.errors import CheckpointError, ConfigError
from tpr.models import ClipOptions, download
from tpr.models.download import find_weights


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setattr(download, "CACHE", tmp_path / "cache")


def test_a_path_is_taken_as_it_is(tmp_path):
    (tmp_path / "clip.pt").write_bytes(b"x")
    assert find_weights(ClipOptions(weights=str(tmp_path / "clip.pt"))) == tmp_path / "clip.pt"


def test_a_tag_is_fetched_by_open_clip(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        download, "download_pretrained", lambda cfg: asked.append(cfg) or str(tmp_path / "file")
    )
    assert find_weights(ClipOptions(weights="openai")) == tmp_path / "file"
    assert "ViT-B-16.pt" in asked[0]["url"]


@pytest.mark.parametrize("error", [OSError("no route to host\nmore"), RuntimeError("wrong checksum")])
def test_without_a_network_the_message_says_what_to_fetch_and_where_to_put_it(monkeypatch, error):
    def fail(published):
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
