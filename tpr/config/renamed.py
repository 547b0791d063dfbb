"""Options that have a new name: the old one is understood, and said to be old, until version 1.0.

Run folders, checkpoints and caption plans hold options by name and are opened with this table as well.
"""

import logging
from collections.abc import Collection, Mapping
from typing import Any

from tpr.config.yaml_entries import COMMAND_LINE
from tpr.errors import ConfigError

logger = logging.getLogger(__name__)

RENAMED: dict[str, tuple[str, dict[Any, Any]]] = {
    "directions": ("text.directions", {}),
    "pictures_per_identity": ("images_per_identity", {}),
    "max_picture_pixels": ("max_image_pixels", {}),
    "pictures": ("on_missing_image", {"all": "stop", "present": "skip"}),
    "shard_pictures": ("shard_images", {}),
    "open_pictures": ("open_images", {}),
}
"""Old name of an option -> its name now, with a dot in a group of its own, and its values' names now."""


def rename_options(
    values: Mapping[str, Any], declared: Collection[str], where: str, origins: Mapping[str, str]
) -> Mapping[str, Any]:
    """The options of one group by their names of today.

    declared: names of the group. where: its dotted name. origins: where a value was written, by dotted name;
    a warning says the new name of what stands there. Raises ConfigError where one option has both names,
    unless the old one alone was typed.
    """
    old = [name for name in values if name in RENAMED and name not in declared]
    found = dict(values)
    for name in old:
        new, meanings = RENAMED[name]
        group, _, leaf = new.rpartition(".")
        inner = found.get(group, {}) if group else found
        if (group or leaf) not in declared or not isinstance(inner, Mapping):
            continue
        prefix = f"{where}." if where else ""
        origin = origins.get(prefix + name)
        if leaf in inner and (origin != COMMAND_LINE or origins.get(prefix + new) == COMMAND_LINE):
            raise ConfigError(
                f"{prefix}{name} is the old name of {prefix}{new}, which is given as well; drop it"
            )
        value = found.pop(name)
        value = meanings.get(value, value) if isinstance(value, str) else value
        found |= {group: {**inner, leaf: value}} if group else {leaf: value}
        if origin is not None:
            logger.warning("%s%s is now %s%s: write %s (in %s)", prefix, name, prefix, new, new, origin)
    return found
