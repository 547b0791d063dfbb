"""Bad captions are named, harmless faults are mended, good captions pass."""

import pytest

from tpr.captioning.filters import FilterOptions, find_fault, mend

GOOD = (
    "A woman with long brown hair is wearing a red jacket and blue jeans.",
    "The man wears a black coat, white sneakers (size unknown) and carries a bag.",
    "Sporting a café-brown coat, the lady is carrying a small handbag on her arm.",
    "With short hair, the person can be seen wearing a shirt that cannot be missed.",
)


@pytest.mark.parametrize("text", GOOD)
def test_good_captions_pass(text: str) -> None:
    assert find_fault(mend(text), FilterOptions()) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("The woman with [hair description] is wearing a red jacket and jeans.", "unfilled slot"),
        ("The person/woman/man with long hair is wearing a jacket and jeans.", "unfilled slot"),
        ("The <box>woman</box> with long hair is wearing a red jacket and jeans.", "mark-up"),
        ("The **woman** with long hair is wearing a red jacket and jeans.", "mark-up"),
        ("1. A woman with long hair.\n2. She is wearing a red jacket and jeans.", "mark-up"),
        ("I'm sorry, but I cannot describe the person in this image for you.", "refusal"),
        ("As an AI language model I see a woman with long hair and a jacket.", "refusal"),
        ("A man with a hat.", "too short"),
        ("A man with a red hat and " + "a very long coat and " * 30 + "shoes.", "too long"),
        ("A woman with long brown hair is wearing a red jacket and", "truncated"),
        ("Una mujer lleva una chaqueta roja, pantalones grises y una mochila negra.", "not English"),
        ("Eine Frau mit langen Haaren und einer roten Jacke geht auf der Straße.", "not English"),
        ("一位女士穿着红色的夹克 和 蓝色的 牛仔裤 还有 白色的 鞋子 背着 包。", "not English"),
        ("A man with a hat, " + "a bag and a coat on him, " * 4 + "and shoes.", "repetition"),
    ],
)
def test_bad_captions_are_named(text: str, reason: str) -> None:
    assert find_fault(mend(text), FilterOptions()) == reason


def test_a_caption_that_the_image_has_is_a_duplicate() -> None:
    twin = GOOD[0].upper().replace(",", "")
    assert find_fault(twin, FilterOptions(), [GOOD[0]]) == "duplicate"
    assert find_fault(twin, FilterOptions(duplicates=True), [GOOD[0]]) is None
    assert find_fault(GOOD[1], FilterOptions(), [GOOD[0]]) is None


@pytest.mark.parametrize(
    "text", [f"  {GOOD[0]}\n", f'"{GOOD[0]}"', f"Caption: {GOOD[0]}", GOOD[0].replace(" ", "  ")]
)
def test_harmless_faults_are_mended(text: str) -> None:
    assert mend(text) == GOOD[0]


def test_models_that_write_no_full_stop_can_be_used() -> None:
    text = "a woman with long brown hair wearing a red jacket and blue jeans"
    assert find_fault(text, FilterOptions(full_stop=False)) is None


@pytest.mark.parametrize(("count", "reason"), [(7, "too short"), (8, None), (130, None), (131, "too long")])
def test_the_bounds_are_those_of_ham(count: int, reason: str | None) -> None:
    words = [f"w{number}" for number in range(count - 1)]
    words[::2] = ["the"] * len(words[::2])
    assert find_fault(" ".join([*words, "bag."]), FilterOptions()) == reason
