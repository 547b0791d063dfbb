"""The machine-captioned pre-training sets: LUPerson-MLLM, SYNTH-PEDES, HAM-PEDES, MALS."""

from dataclasses import asdict, replace
from typing import Any

from tpr.drawn.annotators import (
    BLIP,
    FINE,
    PLAIN,
    QWEN_DYNAMIC,
    QWEN_STATIC,
    SHIKRA_DYNAMIC,
    SHIKRA_STATIC,
    TEMPLATE,
    Annotator,
)
from tpr.drawn.cameras import DIFFUSION, WEB
from tpr.drawn.labels import mals_labels, synth_attributes
from tpr.drawn.plan import Plan, Shot, Studio

WRONG_WORDS = 0.15
DEFECTS = 0.01
CAPTION_FILES = {
    "Ts-qwen": QWEN_STATIC,
    "Td-qwen": QWEN_DYNAMIC,
    "Ts-shikra": SHIKRA_STATIC,
    "Td-shikra": SHIKRA_DYNAMIC,
}
SPAC = tuple(replace(style, own_words=0.15, wrong_words=0.05) for style in (PLAIN, FINE))
HAM_STYLES = tuple(replace(style, own_words=0.3, wrong_words=0.05) for style in (PLAIN, FINE))
MALS_SUBSETS = ("4x", "c_g_a", "c_g_a_0", "i_g_a", "i_g_a_0")
SYNTH_PARTS = 11


def plan_luperson_mllm(identities: int, seed: int) -> Plan:
    """Images without labels, four captions each, and what is true of them."""
    studio = Studio("luperson_mllm", seed)
    total = 27 * identities
    names = [f"{number:07d}.jpg" for number in studio.numbers(total)]
    shots: list[Shot] = []
    while len(shots) < total:
        track = len(shots)
        person = studio.person(track)
        for _ in range(min(studio.stream("track", track).choice((1, 1, 2, 3)), total - len(shots))):
            camera, view = studio.view(WEB, len(shots))
            shots.append(Shot(f"images/{names[len(shots)]}", track, person, view, camera.name))
    files: dict[str, Any] = {}
    truth: dict[str, Any] = {"pictures": {_name(shot): asdict(shot.person) for shot in shots}, "captions": {}}
    for number, (file, style) in enumerate(CAPTION_FILES.items()):
        noisy = replace(style, wrong_words=WRONG_WORDS, defects=DEFECTS)
        texts, marks = _caption_file(studio, shots, noisy, number)
        files[f"captions/{file}.json"] = texts
        truth["captions"][file] = marks
    files["truth.json"] = truth
    return Plan("LUPerson-MLLM", shots, files, captions=4 * total, identities=None)


def _name(shot: Shot) -> str:
    return shot.path.rpartition("/")[2]


def _caption_file(
    studio: Studio, shots: list[Shot], annotator: Annotator, number: int
) -> tuple[dict[str, str], dict[str, Any]]:
    """Name -> caption, and name -> positions of attribute words and of the wrong ones among them."""
    texts, marks = {}, {}
    for image, shot in enumerate(shots):
        caption = studio.caption(shot, annotator, image, number)
        texts[_name(shot)] = caption.text
        marks[_name(shot)] = {
            "attribute_words": caption.attribute_words,
            "wrong_words": caption.wrong_words,
            "defect": caption.defect,
        }
    return dict(sorted(texts.items())), dict(sorted(marks.items()))


def synth_shots(studio: Studio, identities: int) -> list[Shot]:
    """Five to nine images of each person, in folders Part1 to Part11 by number."""
    shots: list[Shot] = []
    for number in range(identities):
        person = studio.person(number)
        part = 1 + number * SYNTH_PARTS // identities
        for which in range(studio.stream("pictures", number).randint(5, 9)):
            camera, view = studio.view(WEB, len(shots))
            shots.append(Shot(f"Part{part}/{number + 1}/{which}.jpg", number + 1, person, view, camera.name))
    return shots


def plan_synth_pedes(identities: int, seed: int) -> Plan:
    """Identities, one or two stylish captions and a template sentence per image."""
    studio = Studio("synth_pedes", seed)
    shots = synth_shots(studio, identities)
    records: list[dict[str, Any]] = []
    for image, shot in enumerate(shots):
        styles = SPAC if studio.stream("styles", image).random() < 0.6 else (SPAC[image % 2],)
        records.append(
            {
                "id": shot.identity,
                "file_path": shot.path,
                "attributes": [synth_attributes(shot.person)],
                "captions": [
                    studio.caption(shot, style, image, which).text for which, style in enumerate(styles)
                ],
                "prompt_caption": [studio.caption(shot, TEMPLATE, image, 2).text],
            }
        )
    captions = sum(len(record["captions"]) + 1 for record in records)
    return Plan("SYNTH-PEDES", shots, {"synthpedes-dataset.json": records}, captions, identities)


def plan_ham_pedes(identities: int, seed: int) -> Plan:
    """A random half of SYNTH-PEDES' images under the same names, two captions each in human styles."""
    shots = synth_shots(Studio("synth_pedes", seed), identities)
    studio = Studio("ham_pedes", seed)
    kept = sorted(studio.names.sample(range(len(shots)), max(1, len(shots) // 2)))
    captions = {}
    for image in kept:
        styles = [studio.stream("style", image, which).choice(HAM_STYLES) for which in range(2)]
        captions[shots[image].path] = [
            studio.caption(shots[image], style, image, which).text for which, style in enumerate(styles)
        ]
    chosen = [shots[image] for image in kept]
    people = len({shot.identity for shot in chosen})
    return Plan("HAM-PEDES", chosen, {"ham-pedes.json": captions}, 2 * len(chosen), people)


def plan_mals(identities: int, seed: int) -> Plan:
    """Generated-looking images in sub-sets, one caption and 27 attribute labels each, no identities."""
    studio = Studio("mals", seed)
    total = 5 * identities
    numbers = sorted(studio.numbers(total))
    shots: list[Shot] = []
    files: dict[str, list[dict[str, Any]]] = {
        f"gene_attrs/g_{subset}_attrs.json": [] for subset in MALS_SUBSETS
    }
    for image, number in enumerate(numbers):
        subset = MALS_SUBSETS[image % len(MALS_SUBSETS)]
        camera, view = studio.view(DIFFUSION, image)
        shot = Shot(f"gene_crop/{subset}/{number}.jpg", image, studio.person(image), view, camera.name)
        files[f"gene_attrs/g_{subset}_attrs.json"].append(
            {
                "image": shot.path,
                "caption": studio.caption(shot, BLIP, image, 0).text.lower(),
                "image_id": f"{subset}_{number}",
                "label": mals_labels(shot.person, studio.stream("labels", image)),
            }
        )
        shots.append(shot)
    return Plan("MALS", shots, files, captions=total, identities=None)
