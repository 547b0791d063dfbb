"""The benchmarks' two sides: A gives the published values, and both agree wherever `--check` looks."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.parity.fixtures import read_adam, read_fixture, read_towers
from tests.parity.weights import random_state_dict
from tpr.models.positions import resize_grid

SCRIPTS = Path(__file__).parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

from benchmarks import runner  # noqa: E402
from benchmarks.reference.captions import build_tokenizer, mask_in_place, tokenize_caption  # noqa: E402
from benchmarks.reference.identity_sampler import IdentitySampler  # noqa: E402
from benchmarks.reference.model import Irra, train_step  # noqa: E402
from benchmarks.reference.optimizer import build_adam  # noqa: E402
from benchmarks.reference.oracle import rank_by_oracle  # noqa: E402
from benchmarks.reference.ranking import rank_by_argsort  # noqa: E402
from benchmarks.reference.towers import Architecture  # noqa: E402
from benchmarks.reference.visible_infrared import evaluate_by_query  # noqa: E402
from benchmarks.report import Case, Report  # noqa: E402
from benchmarks.timing import Timing, interleave  # noqa: E402

SLOWER = [
    "loader",
    "text",
    "decode",
    "step",
    "optim",
    "memory",
    "cost",
    "nam",
    "rde",
    "caption",
    "visible_infrared",
]


@pytest.fixture(scope="module")
def case():
    return read_fixture("irra")


@pytest.fixture(scope="module")
def published(case):
    clip = random_state_dict(case["clip_shapes"], case["seed"])
    side = round((len(clip["visual.positional_embedding"]) - 1) ** 0.5)
    grid, _ = resize_grid(clip["visual.positional_embedding"], (24, 8), (side, side))
    clip["visual.positional_embedding"] = grid
    towers = read_towers(case["clip_shapes"])
    sizes = Architecture(
        image_width=towers.image.width,
        image_layers=towers.image.layers,
        text_width=towers.text.width,
        text_layers=towers.text.layers,
        embedding=towers.embed_dim,
    )
    heads = random_state_dict(case["head_shapes"], case["seed"] + 1)
    model = Irra(sizes, case["head_shapes"]["classifier.weight"][0])
    model.load_state_dict({f"base_model.{name}": value for name, value in clip.items()} | heads)
    return model


def pad(rows):
    return torch.tensor([row + [0] * (77 - len(row)) for row in rows])


def test_side_a_of_step_gives_the_published_losses_and_gradients(case, published):
    pixels = np.random.RandomState(case["seed"] + 2).standard_normal((len(case["pids"]), 3, 384, 128))
    batch = {
        "images": torch.from_numpy(pixels.astype("float32")),
        "pids": torch.tensor(case["pids"]),
        **{name: pad(case[name]) for name in ("caption_ids", "mlm_ids", "mlm_labels")},
    }
    values = train_step(published, batch)
    for name, value in values.items():
        assert value == pytest.approx(case["losses"][name], rel=1e-4, abs=1e-6), name
    for name, parameter in published.named_parameters():
        wanted = case["grad_norms"][name]
        assert float(parameter.grad.norm()) == pytest.approx(wanted, rel=1e-3, abs=1e-6), name


def test_side_a_of_optim_has_the_published_groups(case, published):
    rate = read_adam(case["adam"], case["param_groups"].values()).lr
    groups = build_adam(published, rate).param_groups
    names = [name for name, _ in published.named_parameters()]
    for name, group in zip(names, groups, strict=True):
        assert [group["lr"], group["weight_decay"]] == pytest.approx(case["param_groups"][name]), name


def test_side_a_of_metrics_and_the_oracle_give_the_published_scores():
    for problem in read_fixture("metrics")["rank"]:
        rng = np.random.RandomState(problem["seed"])
        queries = rng.standard_normal((problem["queries"], problem["dim"])).astype("float32")
        gallery = rng.standard_normal((problem["gallery"], problem["dim"])).astype("float32")
        rest = rng.randint(0, problem["identities"], problem["gallery"] - problem["identities"])
        gallery_identity = np.concatenate([np.arange(problem["identities"]), rest])
        query_identity = rng.randint(0, problem["identities"], problem["queries"])
        centres = rng.standard_normal((problem["identities"], problem["dim"])).astype("float32")
        sides = (queries + 0.8 * centres[query_identity], gallery + 0.8 * centres[gallery_identity])
        tensors = [torch.from_numpy(side) for side in (*sides, query_identity, gallery_identity)]
        wanted = [problem["t2i"][name] for name in ("R1", "R5", "R10", "mAP", "mINP")]
        assert rank_by_argsort(*tensors) == pytest.approx(wanted, abs=1e-3)
        assert rank_by_oracle(*tensors) == pytest.approx(wanted, abs=1e-3)


def test_side_a_of_visible_infrared_gives_the_published_scores():
    for case in read_fixture("visible_infrared_rde")["vi"]:
        rng = np.random.RandomState(case["seed"])
        people, rows, columns = case["identities"], case["queries"], case["gallery"]
        owners = np.concatenate([np.arange(people), rng.randint(0, people, columns - people)])
        wanted = rng.randint(0, people, rows)
        sysu = case["kind"] == "sysu"
        cameras = [
            rng.choice(own, size) if sysu else rng.randint(1, 10, size)
            for own, size in (([3, 6], rows), ([1, 2, 4, 5], columns))
        ]
        centres = rng.standard_normal((people, 8))
        sides = [rng.standard_normal((len(own), 8)) + centres[own] for own in (wanted, owners)]
        query, gallery = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
        found = evaluate_by_query(-query @ gallery.T, wanted, owners, *cameras, case["kind"])
        known = [*(case["cmc"][k - 1] for k in (1, 5, 10, 20)), case["mAP"], case["mINP"]]
        assert found == pytest.approx([100 * value for value in known], abs=1e-3)


def test_side_a_of_text_gives_the_published_ids():
    tokenizer = build_tokenizer()
    for known in read_fixture("metrics")["tokens"]:
        assert tokenize_caption(known["caption"], tokenizer).tolist() == known["ids"]


def test_side_a_masks_in_place_so_that_both_published_passes_read_equal_ids():
    row = tokenize_caption("a man in a red coat and blue jeans", build_tokenizer())
    before = row.clone()
    masked, labels = mask_in_place(row.numpy())
    assert torch.equal(row, masked)
    assert torch.equal(labels[labels != 0], before[labels != 0])


def test_side_a_of_sampler_deals_distinct_identities():
    labels = [identity for identity in range(9) for _ in range(identity + 1)]
    order = np.array(labels)[IdentitySampler(labels, 12, 4).draw_epoch()].reshape(-1, 3, 4)
    assert len(order)
    assert (order == order[:, :, :1]).all()
    assert all(len(set(step[:, 0])) == 3 for step in order)


def test_quick_benchmark_finds_both_sides_equal(capsys):
    assert runner.main(["sampler", "--quick", "--check"]) == 0, capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOWER)
def test_longer_quick_benchmark_finds_both_sides_equal(name, capsys):
    assert runner.main([name, "--quick", "--check"]) == 0, capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["metrics", "loss"])
def test_a_benchmark_of_memory_that_comes_and_goes_finds_both_sides_equal(name):
    # In a process of its own: what a used heap holds would be taken for memory saved, or spent.
    words = [sys.executable, str(SCRIPTS / "benchmark.py"), name, "--quick", "--check"]
    outcome = subprocess.run(words, check=False, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.fixture
def report():
    report = Report("sampler", "none")
    report.cases.append(Case("pair", Timing((4.0, 9.0, 2.0), (2.0, 3.0, 2.0)), goal=1000.0))
    return report


def test_check_fails_on_a_difference_and_never_on_time(report, monkeypatch, capsys):
    monkeypatch.setattr(runner, "load_benchmark", lambda name: lambda quick: report)
    assert runner.main(["sampler", "--check"]) == 0
    report.check_limit("memory", 65.0, 64.0, "MiB")
    assert runner.main(["sampler"]) == 0
    assert runner.main(["sampler", "--check"]) == 1
    assert "FAIL memory: 65.0 of 64.0 MiB" in capsys.readouterr().out


def test_json_holds_the_median_of_the_ratios_per_round(report, monkeypatch, capsys):
    monkeypatch.setattr(runner, "load_benchmark", lambda name: lambda quick: report)
    runner.main(["sampler", "--json"])
    (found,) = json.loads(capsys.readouterr().out)["reports"]
    assert found["cases"][0]["ratio"] == 2.0
    assert found["cases"][0]["ratios"] == [2.0, 3.0, 1.0]


def test_memory_that_the_system_does_not_tell_is_no_failure(report):
    report.check_limit("memory", math.nan, 64.0, "MiB")
    assert report.passed
    assert report.checks[-1].found == "not measured on this system"


def test_sides_take_turns():
    calls = []
    timing = interleave(lambda: calls.append("a"), lambda: calls.append("b"), rounds=3)
    assert "".join(calls) == "ab" + "ba" + "ab" + "ba"
    assert len(timing.ratios) == 3
