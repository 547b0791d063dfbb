"""Errors a person can cause and mend: shown as one clear line, without a traceback, with exit code 2.

A message says where, what was found, what was expected and what to do. Programming mistakes are not
`UserError`s: they keep their traceback.
"""


class UserError(Exception):
    """Something in the user's input (config, path, image, checkpoint, caption) must change."""


class ConfigError(UserError):
    """A configuration file, an option or a relation between options is wrong."""


class DataError(UserError):
    """A folder, an annotation file, an image or a caption is missing or not as published."""


class CheckpointError(UserError):
    """A checkpoint cannot be read, does not fit, or is not safe to read."""


class TrainingError(UserError):
    """Training cannot go on: non-finite losses, a full disk, a process that died."""


class BusyError(UserError):
    """Another process is at work in the same output folder."""


def first_line(error: Exception) -> str:
    """The first line of an error's text, for messages of one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def explain_disk(error: OSError) -> DataError:
    """A full disk or a locked folder, in one line."""
    place = f"{error.filename}: " if error.filename else ""
    return DataError(
        f"{place}{error.strerror or error}; free the disk or unlock the folder, then start again"
    )
