"""The two-stream trunk equals torchvision's, and finds its own sizes again."""

import copy

import pytest
import torch
from torchvision.models.resnet import Bottleneck, ResNet

from tpr.config.typed import build_options
from tpr.errors import CheckpointError, ConfigError
from tpr.models.architecture import TextArchitecture
from tpr.models.resnet import GeneralisedMean, rename_resnet
from tpr.models.text_tower import TextTower
from tpr.models.two_stream import TwoStream, TwoStreamOptions, load_imagenet, load_text, read_two_stream

SHORT = (1, 2, 1, 1)


@pytest.fixture(scope="module")
def classifier():
    """A short ResNet of torchvision at full width, whose last stage keeps its resolution."""
    torch.manual_seed(3)
    model = ResNet(Bottleneck, list(SHORT), num_classes=5).eval()
    model.layer4[0].conv2.stride = model.layer4[0].downsample[0].stride = (1, 1)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model


def run_reference(model, images, *, relu):
    states = model.bn1(model.conv1(images))
    states = model.maxpool(model.relu(states) if relu else states)
    return model.layer4(model.layer3(model.layer2(model.layer1(states))))


@pytest.mark.parametrize("relu", [False, True])
@torch.no_grad()
def test_maps_of_both_stems_are_those_of_torchvision(classifier, relu, tmp_path):
    torch.save(classifier.state_dict(), tmp_path / "resnet.pth")
    tower = TwoStream(TwoStreamOptions(layers=SHORT, stem_relu=relu))
    load_imagenet(tower, str(tmp_path / "resnet.pth"), 1.0)
    # In float64: sums of a batch of one and of three are rounded differently by some processors.
    tower, reference = tower.double().eval(), copy.deepcopy(classifier).double()
    images = torch.randn(3, 3, 64, 32, dtype=torch.float64)
    wanted = run_reference(reference, images, relu=relu)
    assert wanted.shape == (3, 2048, 4, 2)
    for halves in ((images, None), (None, images), (images[:1], images[1:])):
        torch.testing.assert_close(tower(*halves), wanted)


def test_a_file_of_another_size_is_refused(classifier, tmp_path):
    torch.save(classifier.state_dict(), tmp_path / "resnet.pth")
    tower = TwoStream(TwoStreamOptions(layers=SHORT, width=8))
    with pytest.raises(CheckpointError, match=r"resnet.pth: only 21 of .* values fit"):
        load_imagenet(tower, str(tmp_path / "resnet.pth"), 0.9)


def test_fresh_convolutions_keep_the_scale_of_their_input():
    torch.manual_seed(0)
    tower = TwoStream(TwoStreamOptions(layers=(1, 1, 1, 1), width=16))
    weight = tower.stages[2][0].conv2.weight.detach()
    assert float(weight.std()) == pytest.approx((2 / (weight.shape[0] * 9)) ** 0.5, rel=0.05)


def test_names_of_torchvision_are_renamed_for_every_stem():
    state = {
        name: torch.zeros(1) for name in ("conv1.weight", "bn1.bias", "layer3.1.bn2.weight", "fc.weight")
    }
    assert set(rename_resnet(state, ("visible", "infrared"))) == {
        "visible.conv.weight",
        "infrared.conv.weight",
        "visible.norm.bias",
        "infrared.norm.bias",
        "stages.2.1.bn2.weight",
    }


def test_sizes_are_read_off_the_weights():
    text = TextArchitecture(width=64, layers=2, heads=1, context=20, vocabulary=50)
    options = TwoStreamOptions(layers=(2, 1, 3, 1), width=4, text=text)
    tower = TwoStream(options)
    words = TextTower(text, output=tower.output, text_length=20, quick_gelu=True)
    assert read_two_stream(tower.state_dict(), words.state_dict()) == options
    assert read_two_stream(tower.state_dict(), {}).text == TextArchitecture()


def test_a_clip_file_without_a_text_tower_is_refused(tmp_path):
    torch.save({"visual.proj": torch.zeros(4, 4)}, tmp_path / "clip.pt")
    tower = TextTower(
        TextArchitecture(width=64, layers=1, heads=1), output=8, text_length=20, quick_gelu=True
    )
    with pytest.raises(CheckpointError, match="clip.pt: only 0 of"):
        load_text(tower, str(tmp_path / "clip.pt"), 0.9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (1, 0, 1, 1)}, r"layers\[1\]: expected int in \[1, 1024\], got 0"),
        ({"width": 0}, r"width: expected int in \[1, 16384\], got 0"),
        ({"text": {"context": 5000}}, r"text.context: expected int in \[1, 4096\], got 5000"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        build_options(TwoStreamOptions, options, {})


def test_the_generalised_mean_lies_between_mean_and_maximum():
    maps = torch.rand(4, 5, 6, 3) + 0.1
    for exponent, wanted in ((1.0, maps.mean(dim=(2, 3))), (200.0, maps.amax(dim=(2, 3)))):
        torch.testing.assert_close(GeneralisedMean(exponent)(maps), wanted, rtol=0.05, atol=1e-6)
    pooled = GeneralisedMean()(maps)
    assert ((pooled > maps.mean(dim=(2, 3))) & (pooled < maps.amax(dim=(2, 3)))).all()


def test_the_generalised_mean_of_nothing_has_finite_gradients_and_is_float32():
    pool, maps = GeneralisedMean(), torch.zeros(1, 2, 2, 2, dtype=torch.bfloat16, requires_grad=True)
    pooled = pool(maps)
    assert pooled.dtype == torch.float32
    pooled.sum().backward()
    assert torch.isfinite(maps.grad).all() and torch.isfinite(pool.p.grad).all()
