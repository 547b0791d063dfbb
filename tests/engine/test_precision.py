"""Which device and which arithmetic a run gets, on machines of every kind."""

import logging

import pytest
import torch

from tpr import distributed
from tpr.config.schema import RuntimeOptions
from tpr.engine.precision import choose_device, choose_precision
from tpr.errors import ConfigError

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


def has_gpus(monkeypatch: pytest.MonkeyPatch, count: int, capability: tuple[int, int] = (9, 0)) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)


@pytest.mark.parametrize(
    ("capability", "expected"), [((9, 0), "bf16"), ((8, 0), "bf16"), ((7, 5), "fp16"), ((7, 0), "fp16")]
)
def test_auto_is_bf16_where_a_gpu_has_it(
    capability: tuple[int, int],
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    has_gpus(monkeypatch, 1, capability)
    with caplog.at_level(logging.INFO):
        chosen = choose_precision(RuntimeOptions(), GPU)
    assert (chosen.name, chosen.device) == (expected, GPU)
    assert ("no bf16 in hardware" in caplog.text) == (expected == "fp16")


def test_auto_is_float32_on_a_cpu_and_a_name_is_what_it_says() -> None:
    assert choose_precision(RuntimeOptions(), CPU).name == "float32"
    assert choose_precision(RuntimeOptions(precision="bf16"), CPU).name == "bf16"


@pytest.mark.parametrize(("precision", "rounds"), [("float32", False), ("bf16", True)])
def test_float32_on_a_gpu_is_not_rounded_to_tf32(
    precision: str, rounds: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    has_gpus(monkeypatch, 1)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    choose_precision(RuntimeOptions(precision=precision), GPU)
    assert torch.backends.cudnn.allow_tf32 == rounds


def test_processes_of_one_machine_take_a_gpu_each(monkeypatch: pytest.MonkeyPatch) -> None:
    has_gpus(monkeypatch, 4)
    monkeypatch.setattr(distributed, "local_rank", lambda: 3)
    assert choose_device(RuntimeOptions()) == torch.device("cuda", 3)
    assert choose_device(RuntimeOptions(device="cpu")) == CPU


def test_a_gpu_that_torch_does_not_see_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    has_gpus(monkeypatch, 0)
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi")
    assert choose_device(RuntimeOptions()) == CPU
    assert "computing on the CPU" in caplog.text
    with pytest.raises(ConfigError, match=r"runtime\.device=cuda, but torch sees no GPU"):
        choose_device(RuntimeOptions(device="cuda"))
