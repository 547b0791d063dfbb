"""Visible-infrared scores as published: a sort of all distances, then one Python step per query."""

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

RANKS = 20


def drop_in_sysu(query: tuple[int, int], people: Labels, cameras: Labels) -> npt.NDArray[np.bool_]:
    """Images of camera 2 for a query of camera 3."""
    return (cameras == 2) & (query[1] == 3)


def drop_in_llcm(query: tuple[int, int], people: Labels, cameras: Labels) -> npt.NDArray[np.bool_]:
    """The person's own images by the query's camera."""
    return (people == query[0]) & (cameras == query[1])


def drop_in_regdb(query: tuple[int, int], people: Labels, cameras: Labels) -> npt.NDArray[np.bool_]:
    """Nothing."""
    return np.zeros(len(people), dtype=bool)


DROPS = {"sysu": drop_in_sysu, "llcm": drop_in_llcm, "regdb": drop_in_regdb}


def evaluate_by_query(
    distance: Matrix,
    query_identity: Labels,
    gallery_identity: Labels,
    query_camera: Labels,
    gallery_camera: Labels,
    protocol: str,
) -> list[float]:
    """[R@1, R@5, R@10, R@20, mAP, mINP] in percent."""
    order = np.argsort(distance, axis=1)
    people, cameras = gallery_identity[order], gallery_camera[order]
    matches = (people == query_identity[:, None]).astype(np.int32)
    curves, precisions, penalties = [], [], []
    for number in range(len(distance)):
        query = (int(query_identity[number]), int(query_camera[number]))
        kept = ~DROPS[protocol](query, people[number], cameras[number])
        hits = matches[number][kept]
        listed = people[number][kept] if protocol != "regdb" else np.arange(kept.sum())
        _, first = np.unique(listed, return_index=True)
        seen = listed[np.sort(first)]
        curve = (seen == query[0]).astype(np.int32) if protocol != "regdb" else hits
        if not hits.any():
            continue
        curves.append(np.minimum(curve.cumsum(), 1)[:RANKS])
        running = hits.cumsum()
        last = np.flatnonzero(hits)[-1]
        penalties.append(running[last] / (last + 1.0))
        precisions.append(((running / np.arange(1.0, len(hits) + 1)) * hits).sum() / hits.sum())
    cmc = np.mean(np.stack(curves), axis=0)
    return [float(100 * value) for value in (*cmc[[0, 4, 9, 19]], np.mean(precisions), np.mean(penalties))]
