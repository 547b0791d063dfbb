"""Instructions and templates, as read from `captions/`: data that a user may edit.

`instructions.yaml` is a mapping {kind: text}; a text with {template} takes one of `templates.txt`, a
text with {caption} the caption to rephrase, one with {style} an annotator's style, which is a number for the
model and no words.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from tpr.config.yaml_entries import StrictLoader
from tpr.errors import ConfigError

SLOTS = ("clothing", "footwear", "hair", "accessory", "belongings")
SUBJECT = "[person/woman/man]"
PLACE = "{template}"
CAPTION_PLACE = "{caption}"
STYLE = "{style}"
SLOT = re.compile(r"\[(\w+) description\]")
BRACKETS = re.compile(r"\[[^\]]*\]?")
KIND = re.compile(r"[a-z][a-z0-9_]*")
SHIPPED = Path(__file__).parents[2] / "captions"


@dataclass(frozen=True)
class Texts:
    """Instructions by kind, and the templates."""

    instructions: dict[str, str]
    templates: tuple[str, ...]

    def takes_template(self, kind: str) -> bool:
        """Whether this kind of caption is told a template."""
        return PLACE in self.instructions[kind]

    def takes_style(self, kind: str) -> bool:
        """Whether this kind of caption is written in an annotator's style."""
        return STYLE in self.instructions[kind]

    def takes_caption(self, kind: str) -> bool:
        """Whether this kind rephrases a caption, instead of asking about an image."""
        return CAPTION_PLACE in self.instructions[kind]

    def instruct(self, kind: str, template: int | None, caption: str | None = None) -> str:
        """The full text for the model."""
        text = " ".join(self.instructions[kind].replace(STYLE, " ").split())
        if template is not None:
            text = text.replace(PLACE, self.templates[template])
        return text if caption is None else text.replace(CAPTION_PLACE, caption)


def read_texts(folder: Path | None) -> Texts:
    """The texts of a folder; absent: `captions/` where the run starts, else the shipped ones."""
    if folder is None:
        here = Path("captions")
        folder = here if (here / "instructions.yaml").is_file() else SHIPPED
    return Texts(read_instructions(folder / "instructions.yaml"), read_templates(folder / "templates.txt"))


def read_instructions(path: Path) -> dict[str, str]:
    """Instructions by kind. Raises ConfigError in one line."""
    try:
        found = yaml.load(_read(path), StrictLoader)  # a kin of SafeLoader
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from None
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"{path}: expected 'kind: text' pairs")
    for kind, text in found.items():
        if not isinstance(kind, str) or not KIND.fullmatch(kind):
            raise ConfigError(f"{path}: '{kind}' cannot name a kind of caption; use small letters, digits, _")
        if not isinstance(text, str) or not text.strip():
            raise ConfigError(f"{path}: {kind}: expected the text of an instruction")
    return {kind: " ".join(text.split()) for kind, text in found.items()}


def read_templates(path: Path) -> tuple[str, ...]:
    """The templates in order. Raises ConfigError naming the line that is not in the grammar."""
    templates = []
    for number, line in enumerate(_read(path).splitlines(), start=1):
        template = line.strip()
        if template and not template.startswith("#"):
            _check_template(template, f"{path}:{number}")
            templates.append(template)
    if not templates:
        raise ConfigError(f"{path}: holds no template")
    return tuple(templates)


def slots_of(template: str) -> list[str]:
    """The slots of a template in order, the person left out."""
    return SLOT.findall(template)


def _check_template(template: str, where: str) -> None:
    allowed = [SUBJECT, *(f"[{slot} description]" for slot in SLOTS)]
    strange = next((found for found in BRACKETS.findall(template) if found not in allowed), None)
    if strange is not None:
        raise ConfigError(f"{where}: '{strange}' is no slot; slots: {', '.join(allowed)}")
    if not slots_of(template) or SUBJECT not in template:
        raise ConfigError(f"{where}: a template needs {SUBJECT} and at least one slot")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise ConfigError(f"{path}: cannot be read ({reason}); --texts names another folder") from None
