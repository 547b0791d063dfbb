"""Config files, and words of a command line."""

from pathlib import Path
from random import Random

from fuzzing.damage import TOKENS, damage_text
from fuzzing.verdict import Kind, Verdict
from tpr.config.hints import walk_options
from tpr.config.reader import read_tree
from tpr.config.schema import Experiment
from tpr.config.typed import build_experiment, to_tree
from tpr.systems import TABLES

PLAIN = (
    "0",
    "1",
    "2",
    "8",
    "0.5",
    "1e-3",
    "true",
    "null",
    "auto",
    "none",
    "text",
    "a/b",
    "[]",
    "[1, 2]",
    "{}",
)
"""Values that some options take."""
CHOICES = ("", "system=irra", "model=clip", "adapter=cuhk_pedes")
"""Names whose options the recipe has."""
SHIPPED = Path(__file__).parents[2] / "configs"


class Configurations(Kind):
    """The shipped recipes with damaged values."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        (folder / "shared").symlink_to(SHIPPED / "shared")
        self.file = folder / "any" / "config.yaml"
        self.file.parent.mkdir()
        paths = sorted(
            path for path in SHIPPED.glob("*/*.yaml") if path.parent.name not in ("shared", "drawn")
        )
        self.originals = [path.read_bytes() for path in paths if b"base: " in path.read_bytes()]
        self.originals = [text for text in self.originals if b"../shared/" in text]

    def attempt(self, random: Random) -> Verdict:
        """Read a damaged file."""
        original = random.choice(self.originals)
        self.file.write_bytes(original)
        before = to_tree(build_experiment(read_tree(self.file), TABLES))
        self.file.write_bytes(damage_text(original, random))
        after = to_tree(build_experiment(read_tree(self.file), TABLES))
        return Verdict.SAME if before == after else Verdict.OTHER


class Overrides(Kind):
    """`key=value` words of any option with any value."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.file = SHIPPED / "irra" / "cuhk_pedes.yaml"
        self.before = to_tree(build_experiment(read_tree(self.file), TABLES))
        self.names = sorted(
            {option.dotted for option in walk_options(Experiment, TABLES) if option.choice in CHOICES}
        )

    def attempt(self, random: Random) -> Verdict:
        """Read a config with one or two words on top."""
        words = [self._draw_word(random) for _ in range(random.randint(1, 2))]
        after = to_tree(build_experiment(read_tree(self.file, words), TABLES))
        return Verdict.SAME if self.before == after else Verdict.OTHER

    def _draw_word(self, random: Random) -> str:
        name = random.choice(self.names).replace("[]", random.choice(["", "[0]"]))
        if random.random() < 0.5:
            return f"{name}={random.choice(PLAIN)}"
        anything = damage_text(b'{name: irra, a: [1, "x"]}', random)
        value = random.choice((anything, *random.choices(TOKENS)))
        word = f"{name}={value.decode('utf-8', 'surrogateescape')}"
        if random.random() < 0.2:
            word = damage_text(word.encode("utf-8", "surrogateescape"), random).decode(
                "utf-8", "surrogateescape"
            )
        return word.replace("\0", "")  # no operating system passes it on
