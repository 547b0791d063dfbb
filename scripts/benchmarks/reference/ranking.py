"""Retrieval scores as published: sort the whole gallery of every query, keep (Q, G) index matrices."""

import torch
from torch import Tensor
from torch.nn import functional


def rank_by_argsort(
    queries: Tensor, gallery: Tensor, query_identity: Tensor, gallery_identity: Tensor
) -> list[float]:
    """[R@1, R@5, R@10, mAP, mINP] in percent from features of any length.

    The sort is not stable, so equal scores come in no promised order; sums are float32; one Python step
    per query for mINP and one per gallery place for the precision list.
    """
    similarity = functional.normalize(queries, dim=1) @ functional.normalize(gallery, dim=1).t()
    order = torch.argsort(similarity, dim=1, descending=True)
    matches = gallery_identity[order].eq(query_identity.view(-1, 1))
    found = matches[:, :10].cumsum(1).clamp(max=1).float().mean(0) * 100
    count = matches.sum(1)
    running = matches.cumsum(1)
    inverse = []
    for row, hits in enumerate(matches):
        last = hits.nonzero()[-1]
        inverse.append(running[row][last] / (last + 1.0))
    precision = (
        torch.stack([running[:, place] / (place + 1.0) for place in range(running.shape[1])], 1) * matches
    )
    average = precision.sum(1) / count
    scores = (found[0], found[4], found[9], average.mean() * 100, torch.cat(inverse).mean() * 100)
    return [float(score) for score in scores]
