"""What tests of styles share: a small benchmark, a small CLIP, features and a bank of them."""

from pathlib import Path

from tests.data.small_sets import cuhk_record, make_options, write_cuhk
from tests.systems.small_systems import make_irra
from tpr.captioning.styles.bank import Style, write_bank
from tpr.captioning.styles.features import StyleFeatures, collect_captions, write_features
from tpr.captioning.styles.lexicon import read_lexicon
from tpr.captioning.styles.options import ClusterOptions, EncoderOptions
from tpr.captioning.styles.rewriting import rewrite_by_words
from tpr.config.schema import Choice
from tpr.data.adapters import ADAPTERS
from tpr.models.weights import read_checkpoint

COLOURS = ("red", "blue", "green", "black", "white", "yellow")
SENTENCES = (
    "A young man in a {} shirt walks away.",
    "The woman is wearing {} pants, and she carries a {} bag.",
    "Seen from behind: {} shoes, {} hair.",
)


def write_world(root: Path, people: int = 6) -> Path:
    """CUHK-PEDES with two captions for each of two images per person; returns the data root."""
    records = [
        cuhk_record(
            "train",
            person + 1,
            f"cam_a/{person}_{shot}.jpg",
            *(
                SENTENCES[(person + shot + turn) % 3].format(COLOURS[person], COLOURS[(person + turn) % 6])
                for turn in range(2)
            ),
        )
        for person in range(people)
        for shot in range(2)
    ]
    records += [
        cuhk_record(split, 90 + number, f"cam_a/{split}.jpg", "A man waits.")
        for number, split in enumerate(("val", "test"))
    ]
    write_cuhk(root, records)
    return root


def write_clip(path: Path) -> Path:
    """A bare CLIP file with small random towers."""
    import torch

    torch.save(make_irra().base_model.state_dict(), path)
    assert read_checkpoint(path).state
    return path


def make_features(folder: Path, root: Path, clip: Path, **options: object) -> StyleFeatures:
    """Features of the small world by word lists."""
    lexicon = read_lexicon(None)
    captions = collect_captions([Choice("cuhk_pedes", ADAPTERS["cuhk_pedes"].Options())], make_options(root))
    encoder = EncoderOptions(weights=str(clip), device="cpu", **options)
    return write_features(folder, captions, lambda texts: rewrite_by_words(texts, lexicon), encoder, {})


def make_bank(folder: Path, features: StyleFeatures, **options: object) -> list[Style]:
    """A few styles of each sort."""
    values = {"kmeans": 3, "ups": 2, "ups_members": 5, **options}
    return write_bank(folder, features, ClusterOptions(**values), "Describe the person.")


def make_record(
    image: str, caption: str, style: int, instruction: str = "describe the person"
) -> dict[str, object]:
    """A record of instruction data in HAM's form, without the keys that are never read."""
    turns = [{"from": "human", "value": f"<image>\n{instruction}"}, {"from": "gpt", "value": caption}]
    return {"image": image, "conversations": turns, "class_id": style}
