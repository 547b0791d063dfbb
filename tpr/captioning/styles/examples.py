"""Instruction data: images, what the model is told, what a human wrote, and in which style.

The form is HAM's: a JSON list of {image, conversations: [human, gpt], class_id}. `style_id`, which HAM's
trainer needs next to it and never reads, may be there or not.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

from tpr.errors import DataError

PLACE = "<image>"
SHOWN = 60


class Example(NamedTuple):
    """One caption to learn from."""

    image: str
    """Path below the folder of images."""
    instruction: str
    caption: str
    style: int


def read_examples(path: Path, styles: int | None) -> tuple[list[Example], int]:
    """All examples and the number of styles: `styles`, or one more than the highest that occurs.

    Raises DataError naming the record that is not as expected.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path}: not found; `tpr style cluster` writes instructions.json") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not JSON that can be read ({' '.join(str(error).split())})") from None
    if not isinstance(content, list) or not content:
        raise DataError(f"{path}: expected a list of records with image, conversations and class_id")
    kept: dict[str, str] = {}
    examples = [
        _read_record(f"{path}: record {number}", record, kept) for number, record in enumerate(content)
    ]
    highest = max(range(len(examples)), key=lambda number: examples[number].style)
    found = examples[highest].style + 1
    if styles is not None and found > styles:
        raise DataError(
            f"{path}: record {highest} has class_id {found - 1}, but with styles={styles} the "
            f"highest is {styles - 1}"
        )
    return examples, styles or found


def _read_record(where: str, record: Any, kept: dict[str, str]) -> Example:
    """One record; kept: instructions that occurred, since hundreds of thousands share a few."""
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected an object, got {str(record)[:SHOWN]!r}")
    missing = [key for key in ("image", "conversations", "class_id") if key not in record]
    if missing:
        raise DataError(f"{where}: lacks {', '.join(missing)}")
    image, style, turns = record["image"], record["class_id"], record["conversations"]
    if not isinstance(image, str) or image.startswith("/") or ".." in image.split("/"):
        raise DataError(f"{where}: image must be a path below the folder of images, got {image!r}")
    if isinstance(style, bool) or not isinstance(style, int) or style < 0:
        raise DataError(f"{where}: class_id must be a number from 0, got {style!r}")
    human, caption = _read_turns(where, turns)
    instruction = " ".join(human.replace(PLACE, " ").split())
    return Example(image, kept.setdefault(instruction, instruction), " ".join(caption.split()), style)


def _read_turns(where: str, turns: Any) -> tuple[str, str]:
    """What the human and the model say."""
    if isinstance(turns, list) and len(turns) == 2 and all(isinstance(turn, dict) for turn in turns):
        human, caption = (turn.get("value") for turn in turns)
        speakers = [turn.get("from") for turn in turns]
        if speakers == ["human", "gpt"] and isinstance(human, str) and isinstance(caption, str):
            if human.count(PLACE) != 1:
                raise DataError(f"{where}: the human's words need {PLACE} once, got {human[:SHOWN]!r}")
            if not caption.strip():
                raise DataError(f"{where}: the caption is empty")
            return human, caption
    raise DataError(f"{where}: conversations must be one turn of 'human' and one of 'gpt' with their value")
