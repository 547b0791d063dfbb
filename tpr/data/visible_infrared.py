"""Captions of visible and infrared pictures of the same people."""

import numpy as np

from tpr.data.corpus import Corpus, IndexArray


def list_identity_captions(corpus: Corpus) -> dict[int, IndexArray]:
    """Running caption numbers of each person's visible pictures, in order and without repeated texts."""
    texts = corpus.table.column("captions").combine_chunks().flatten().to_pylist()
    owners = corpus.caption_owners()
    visible = ~corpus.infrared()[owners]
    pools: dict[int, dict[str, int]] = {}
    for number in np.flatnonzero(visible).tolist():
        pools.setdefault(int(corpus.identity[owners[number]]), {}).setdefault(texts[number], number)
    return {person: np.array(list(found.values()), dtype=np.int64) for person, found in pools.items()}
