"""A plan: which captions of which images, by which engine. Written once; everything else follows from it.

A plan is a folder with `plan.json` (settings, texts, a fingerprint over all of it), `images.arrow` (the
listing), and what a run adds: `parts/`, `failures/`, `done/`, `work/`.
"""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import pyarrow as pa

from tpr.captioning.draws import draw_seed, draw_style, draw_template
from tpr.captioning.engines import ENGINES, CaptionRequest
from tpr.captioning.filters import FilterOptions
from tpr.captioning.listing import ListedImage, Source, hash_file, open_listing, write_listing
from tpr.captioning.texts import Texts
from tpr.config.ranges import Range, Seed, Whole
from tpr.config.resolved import plain_value
from tpr.config.schema import Choice
from tpr.config.typed import build_options
from tpr.errors import ConfigError, DataError, UserError
from tpr.locks import hold_made_folder
from tpr.whole_files import write_whole

PLAN = "plan.json"
IMAGES = "pictures.arrow"
FORMAT = 1
MOST_IMAGES = 100_000
"""Most images of a shard, which is held in memory."""
MOST_VIEWS = 100


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a user chooses besides texts and engine."""

    captions: dict[str, Annotated[int, Range(1, MOST_VIEWS)]]
    """How many captions of each kind every image gets."""
    filters: FilterOptions = FilterOptions()
    """Which captions are accepted."""
    attempts: Annotated[int, Range(1, 100)] = 5
    """How often a caption is asked for before it is a failure."""
    seed: Seed = 0
    """Seed of every draw."""
    styles: Whole = 0
    """Annotators' styles of the model, from which kinds with {style} draw."""
    shard_images: Annotated[int, Range(1, MOST_IMAGES)] = 2048
    """Images of one shard, which is finished as a whole."""

    def __post_init__(self) -> None:
        if not self.captions:
            raise ConfigError("captions: expected kind=COUNT, as in static=1 dynamic=1")
        if sum(self.captions.values()) > MOST_VIEWS:
            raise ConfigError(f"captions: an image can have at most {MOST_VIEWS}")


class CaptionView(NamedTuple):
    """One caption that every image gets."""

    name: str
    kind: str
    takes_template: bool
    takes_style: bool


@dataclass(frozen=True)
class CaptionPlan:
    """A plan as read from its folder."""

    folder: Path
    root: Path
    source: dict[str, Any]
    images: int
    images_sha256: str
    has_identities: bool
    texts: Texts
    engine: Choice
    settings: Settings
    fingerprint: str

    @cached_property
    def views(self) -> tuple[CaptionView, ...]:
        """Captions of each image, in order."""
        return tuple(
            CaptionView(
                f"{kind}-{number}", kind, self.texts.takes_template(kind), self.texts.takes_style(kind)
            )
            for kind, count in self.settings.captions.items()
            for number in range(count)
        )

    @property
    def shards(self) -> int:
        """Number of shards."""
        return -(-self.images // self.settings.shard_images)

    @property
    def requests(self) -> int:
        """Number of captions."""
        return self.images * len(self.views)

    @cached_property
    def listing(self) -> pa.Table:
        """The mapped listing."""
        return open_listing(self.folder / IMAGES)

    def entries(self, shard: int) -> list[ListedImage]:
        """The images of one shard."""
        size = self.settings.shard_images
        return [ListedImage(*row.values()) for row in self.listing.slice(shard * size, size).to_pylist()]

    def shard_requests(self, shard: int) -> int:
        """Number of captions of one shard."""
        size = self.settings.shard_images
        return max(0, min(size, self.images - shard * size)) * len(self.views)

    @property
    def is_packed(self) -> bool:
        """Whether the images lie in a packed corpus."""
        return bool(self.source.get("packed"))

    @property
    def rephrases(self) -> bool:
        """Whether captions are rephrased, and no image is looked at."""
        return bool(self.source.get("rephrases"))

    def choose_style(self, image: str, view: CaptionView, attempt: int) -> int | None:
        """The style of one attempt at one caption; None where its kind has none."""
        if not view.takes_style:
            return None
        settings, views = self.settings, self.views
        place = views.index(view)
        return draw_style(settings.seed, image, place, attempt, len(views), settings.styles)

    def make_request(self, entry: ListedImage, view: CaptionView, attempt: int, root: Path) -> CaptionRequest:
        """One attempt at one caption: depends on nothing but the plan and these."""
        seed, image = self.settings.seed, entry.image
        template = None
        if view.takes_template:
            template = draw_template(seed, image, view.name, attempt, len(self.texts.templates))
        return CaptionRequest(
            image=image,
            path=None if self.rephrases or self.is_packed else root / image,
            view=view.name,
            instruction=self.texts.instruct(view.kind, template, entry.text),
            template=template,
            style=self.choose_style(image, view, attempt),
            seed=draw_seed(seed, image, view.name, attempt),
            attempt=attempt,
        )


def write_plan(
    folder: Path,
    source: Source,
    texts: Texts,
    engine: Choice,
    settings: Settings,
    *,
    images: int | None = None,
) -> CaptionPlan:
    """Write a new plan; `plan.json` comes last. Raises UserError where there is one already."""
    check_new(folder)
    check_kinds(settings, texts, rephrases=bool(source.words.get("rephrases")))
    check_styles(settings, texts)
    with hold_made_folder(folder, check_new):
        try:
            content = describe_plan(folder, source, texts, engine, settings, images)
            write_whole(folder / PLAN, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        except BaseException:
            with suppress(OSError):
                (folder / IMAGES).unlink(missing_ok=True)
            raise
    return read_plan(folder)


def check_new(folder: Path) -> None:
    """Raise ConfigError where a folder holds a plan already."""
    if (folder / PLAN).exists():
        raise ConfigError(f"{folder}: holds a plan already, and a plan never changes; choose another folder")


def describe_plan(
    folder: Path, source: Source, texts: Texts, engine: Choice, settings: Settings, images: int | None
) -> dict[str, Any]:
    """Write the listing; what the plan's file will hold. Raises DataError where there is no image."""
    listed, has_identities = write_listing(folder / IMAGES, source, images, settings.seed)
    if not listed:
        raise DataError(f"{source.root}: holds no image")
    content: dict[str, Any] = {
        "format": FORMAT,
        "root": str(source.root),
        "source": dict(source.words),
        "pictures": listed,
        "pictures_sha256": hash_file(folder / IMAGES),
        "has_identities": has_identities,
        "instructions": {kind: texts.instructions[kind] for kind in settings.captions},
        "templates": list(texts.templates),
        "engine": plain_value(engine),
        "settings": plain_value(settings),
    }
    content["fingerprint"] = hash_content(content)
    return content


def check_kinds(settings: Settings, texts: Texts, *, rephrases: bool) -> None:
    """Raise ConfigError for kinds that are not known or do not fit what is asked about."""
    for kind in settings.captions:
        if kind not in texts.instructions:
            raise ConfigError(f"captions: '{kind}' is no kind; known: {', '.join(texts.instructions)}")
        if texts.takes_caption(kind) != rephrases:
            fitting = [name for name in texts.instructions if texts.takes_caption(name) == rephrases]
            about = "a caption, as --rephrase has" if texts.takes_caption(kind) else "an image"
            raise ConfigError(f"captions: '{kind}' asks about {about}; kinds that fit: {', '.join(fitting)}")


def check_styles(settings: Settings, texts: Texts) -> None:
    """Raise ConfigError where styles are drawn from none, or are not used."""
    styled = [kind for kind in settings.captions if texts.takes_style(kind)]
    if styled and not settings.styles:
        raise ConfigError(f"captions: '{styled[0]}' needs --styles, the number of styles that the model has")
    if settings.styles and not styled:
        raise ConfigError(
            f"--styles {settings.styles}: no kind of these captions has a {{style}}, as `styled` has"
        )


def hash_content(content: dict[str, Any]) -> str:
    """The fingerprint of a plan."""
    rest = {key: value for key, value in content.items() if key != "fingerprint"}
    return hashlib.sha256(json.dumps(rest).encode()).hexdigest()[:16]


def read_plan(folder: Path) -> CaptionPlan:
    """A plan from its folder. Raises DataError in one line if it is none or was changed by hand."""
    path = folder / PLAN
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{folder}: holds no {PLAN}; `tpr caption plan` makes a plan") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise DataError(f"{path}: is not a plan of format {FORMAT}; make a new plan")
    if content.get("fingerprint") != hash_content(content):
        raise DataError(f"{path}: was changed after it was written; a plan never changes, make a new one")
    return _build_plan(folder, content)


def _build_plan(folder: Path, content: dict[str, Any]) -> CaptionPlan:
    options = dict(content["engine"])
    try:
        settings = build_options(Settings, content["settings"], {}, "settings")
        engine = choose_engine(options.pop("name"), options)
    except UserError as error:
        raise DataError(f"{folder / PLAN}: {error}") from None
    return CaptionPlan(
        folder=folder,
        root=Path(content["root"]),
        source=content["source"],
        images=content["pictures"],
        images_sha256=content["pictures_sha256"],
        has_identities=content["has_identities"],
        texts=Texts(content["instructions"], tuple(content["templates"])),
        engine=engine,
        settings=settings,
        fingerprint=content["fingerprint"],
    )


def choose_engine(name: str, options: dict[str, Any]) -> Choice:
    """An engine of the table with typed options. Raises ConfigError."""
    if name not in ENGINES:
        raise ConfigError(f"engine: '{name}' is not known; known: {', '.join(ENGINES)}")
    return Choice(name, build_options(ENGINES[name].Options, options, {}, name))


def check_listing(plan: CaptionPlan) -> None:
    """Raise DataError if the listing is not the one that the plan was made with."""
    path = plan.folder / IMAGES
    if not path.is_file() or hash_file(path) != plan.images_sha256:
        raise DataError(f"{path}: is not the listing that the plan was made with; make a new plan")
