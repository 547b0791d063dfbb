"""Word lists leave an annotator's way of putting things, and nothing that tells who is meant."""

from pathlib import Path

import pytest

from tpr.captioning.styles.lexicon import read_lexicon
from tpr.drawn.layouts import PLANNERS
from tpr.errors import ConfigError

LEXICON = read_lexicon(None)
CASES = [
    (
        "A woman with long black hair, in a long-sleeve white shirt, fitted black pants, with a black bag.",
        "A person with hairstyle, in a colored top, colored bottom, with a colored object.",
    ),
    (
        "The man wears a black and white striped t-shirt, dark blue jeans, and white sneakers.",
        "The person wears a colored top, colored bottom, and colored shoes.",
    ),
    ("He is carrying two red back-packs.", "The person is carrying some colored object."),
    ("She is young and slim.", "The person is plain."),
    ("A tall, thin man in an orange coat holds an umbrella.", "A person in a colored top holds an object."),
    ("an older gentleman  has\nhis scarf on", "a person has their accessory on"),
    ("Walking away, slightly turned to the left.", "Walking away, slightly turned to the left."),
]


@pytest.mark.parametrize(("caption", "wanted"), CASES, ids=[caption[:30] for caption, _ in CASES])
def test_a_caption_is_rewritten(caption: str, wanted: str) -> None:
    assert LEXICON.rewrite(caption) == wanted


@pytest.mark.parametrize(("caption", "wanted"), CASES, ids=[caption[:30] for caption, _ in CASES])
def test_what_is_rewritten_stays(caption: str, wanted: str) -> None:
    assert LEXICON.rewrite(wanted) == wanted
    assert not LEXICON.names_colour(wanted)


def test_colours_are_seen_as_words() -> None:
    assert LEXICON.names_colour("a Dark-Red coat") and LEXICON.names_colour("navy")
    assert not LEXICON.names_colour("a colored top, worn and bored, hundreds of tanks")


@pytest.mark.parametrize("name", ["cuhk_pedes", "icfg_pedes", "rstpreid"])
def test_no_colour_of_the_drawn_annotators_is_left_and_the_length_stays(name: str) -> None:
    (records,) = PLANNERS[name](20, 0).files.values()
    captions = [caption for record in records for caption in record["captions"]]
    rewritten = [LEXICON.rewrite(caption) for caption in captions]
    assert not [text for text in rewritten if LEXICON.names_colour(text)]
    shares = [
        len(text.split()) / len(caption.split()) for text, caption in zip(rewritten, captions, strict=True)
    ]
    assert min(shares) > 0.4 and max(shares) < 1.3
    assert len(set(rewritten)) < len(set(captions)), "people with the same sentence become one text"


BAD_LISTS = [
    ("a: [b", "not valid YAML"),
    ("top: [shirt]", "with colored, plain and hairstyle among them"),
    ("{colored: [red], plain: [old], hairstyle: [3]}", "hairstyle: expected a list of phrases, found 3"),
    ("{colored: [], plain: [old], hairstyle: [bun]}", "colored: expected a list of phrases"),
]


@pytest.mark.parametrize(("text", "message"), BAD_LISTS)
def test_bad_lists_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match="words.yaml: cannot be read"):
        read_lexicon(tmp_path)
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "words.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_lexicon(tmp_path)
    assert "\n" not in str(caught.value)
