"""Rows as the first version stored them, in results, journals and checkpoints."""

from typing import Any

from tpr.evaluation.query_results import RETRIEVAL

TEXT_NOTES = {
    "own": "own text: every infrared image has its own caption, made from that image alone",
    "oracle": "ORACLE text: every infrared image has a caption of the true person's visible images, of "
    "galleries too, as published; not to be compared with numbers of images alone",
}


def read_older_row(entry: dict[str, Any]) -> dict[str, Any]:
    """The same row as it is stored today.

    Measures stood among the other keys; what told searches of visible-infrared datasets apart was a `probe`.
    """
    probe = entry.get("probe")
    row = {
        "dataset": entry["set"],
        "protocol": "text" if probe is None else "visible_infrared",
        "direction": entry["direction"],
        "is_main": entry["direction"] in ("text_to_image", "infrared_to_visible"),
        "measures": {name: entry[name] for name in RETRIEVAL if name in entry},
        "facts": {"queries": entry["queries"], "unmatched": entry["unmatched"]},
    }
    if probe is not None:
        text = probe["text"]
        row |= {
            "search": probe["search"],
            "query": f"{probe['query']} (ORACLE)" if text == "oracle" else probe["query"],
            "deviations": probe["deviations"] or {},
            "notes": [TEXT_NOTES[text]] if text else [],
        }
        row["facts"]["trials"] = probe["trials"]
    return row | {name: entry[name] for name in ("model", "intervals", "ties") if name in entry}
