"""Retrieval scores in float64 under the stable order, slow and plain: what both sides are compared with."""

import torch
from torch import Tensor
from torch.nn import functional


def rank_by_oracle(
    queries: Tensor, gallery: Tensor, query_identity: Tensor, gallery_identity: Tensor
) -> list[float]:
    """[R@1, R@5, R@10, mAP, mINP] in percent; equal scores in gallery order, unmatched left out."""
    queries = functional.normalize(queries.double(), dim=1)
    gallery = functional.normalize(gallery.double(), dim=1)
    sums = torch.zeros(5, dtype=torch.float64)
    counted = 0
    for rows in torch.arange(len(queries)).split(128):
        order = torch.sort(queries[rows] @ gallery.t(), dim=1, descending=True, stable=True).indices
        matches = gallery_identity[order] == query_identity[rows, None]
        for hits in matches[matches.any(1)]:
            places = hits.nonzero()[:, 0].double() + 1
            number = torch.arange(1, len(places) + 1, dtype=torch.float64)
            found = [float(places[0] <= k) for k in (1, 5, 10)]
            average = float((number / places).mean())
            found += [average, float(len(places) / places[-1])]
            sums += torch.tensor(found, dtype=torch.float64)
            counted += 1
    return [float(value) for value in sums / counted * 100]
