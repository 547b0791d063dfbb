"""SDM and ITC on a large global batch: the published dense loss against one rank's rows of it.

Every rank of W is played in turn by this process: its rows against everybody's columns, as after a gather.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.inputs import draw_features
from benchmarks.process_memory import MEBIBYTE, peak_growth
from benchmarks.reference.model import sdm_loss
from benchmarks.report import Case, Report
from benchmarks.timing import interleave
from tpr.objectives.contrastive import Gathered, itc, sdm

SCALE = 50.0
ALLOWANCE = 1.2
"""A rank of W may take this share of 1 / W of the dense loss's memory."""


def run(quick: bool) -> Report:
    """SDM alone for time and memory, SDM and ITC for equality."""
    batch, width = (2048, 64) if quick else (8192, 512)
    conditions = f"SDM, batch {batch:,}, {width} values a row, float32, {torch.get_num_threads()} threads"
    report = Report("loss", conditions)
    images, texts, text_identity, identity = draw_features(batch, batch, batch // 4, width=width)
    leaves = (images.requires_grad_(), texts.requires_grad_())
    full = peak_growth(lambda: spend(leaves, lambda: sdm_loss(*leaves, identity, SCALE)))
    report.facts["published dense loss, MiB"] = full / MEBIBYTE
    alone = peak_growth(
        lambda: spend(leaves, lambda: sdm(*leaves, identity, SCALE, text_identity=text_identity))
    )
    report.facts["this project's loss in one process, MiB"] = alone / MEBIBYTE
    for ranks in (2, 4, 8):
        part = peak_growth(
            lambda ranks=ranks: spend(leaves, lambda: share(leaves, identity, text_identity, 0, ranks))
        )
        what = f"one rank of {ranks} takes at most {ALLOWANCE} / {ranks} of the dense loss's memory"
        report.check_limit(what, part / MEBIBYTE, ALLOWANCE / ranks * full / MEBIBYTE, "MiB")
    for ranks in (1, 8):
        timing = interleave(
            lambda: spend(leaves, lambda: sdm_loss(*leaves, identity, SCALE)),
            lambda ranks=ranks: spend(leaves, lambda: share(leaves, identity, text_identity, 0, ranks)),
            rounds=3 if quick else 5,
        )
        report.cases.append(Case(f"forward + backward, dense against one rank of {ranks}", timing))
    for ranks in (2, 4):
        _check_equality(report, ranks)
    return report


def spend(leaves: tuple[Tensor, Tensor], loss: Callable[[], Tensor]) -> None:
    """Forward and backward, then drop the gradients."""
    loss().backward()
    for leaf in leaves:
        leaf.grad = None


def share(
    leaves: tuple[Tensor, Tensor],
    identity: Tensor,
    text_identity: Tensor,
    rank: int,
    ranks: int,
    *,
    objective: str = "sdm",
) -> Tensor:
    """The share of one rank out of `ranks`, with everybody's rows already gathered."""
    rows = len(identity) // ranks
    mine = slice(rank * rows, (rank + 1) * rows)
    everyone = Gathered(
        image_features=leaves[0],
        text_features=leaves[1],
        identity=identity,
        text_identity=text_identity,
        image_start=mine.start,
        text_start=mine.start,
    )
    if objective == "itc":
        return itc(leaves[0][mine], leaves[1][mine], SCALE, gathered=everyone)
    return sdm(
        leaves[0][mine],
        leaves[1][mine],
        identity[mine],
        SCALE,
        text_identity=text_identity[mine],
        gathered=everyone,
    )


def _check_equality(report: Report, ranks: int) -> None:
    """Shares and their gradients add up to the whole, in float64."""
    images, texts, text_identity, identity = draw_features(64, 64, 20, width=48)
    for objective in ("sdm", "itc"):
        found = []
        for parts in (1, ranks):
            leaves = (images.double().requires_grad_(), texts.double().requires_grad_())
            shares = [
                share(leaves, identity, text_identity, rank, parts, objective=objective)
                for rank in range(parts)
            ]
            total = torch.stack(shares).sum()
            gradients = torch.autograd.grad(total, leaves)
            found.append(torch.cat([total.reshape(1), *(gradient.flatten() for gradient in gradients)]))
        error = float(((found[0] - found[1]).abs().max() / found[0].abs().max()).detach())
        report.check(
            f"{objective}: {ranks} ranks' shares and gradients add up to the whole",
            error < 1e-12,
            f"{error:.1e}",
        )
