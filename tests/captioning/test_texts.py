"""The shipped texts have the grammar, slot orders and frequencies of the published templates."""

import re
from collections import Counter

import pytest

from tpr.captioning.texts import SHIPPED, SUBJECT, read_templates, read_texts, slots_of
from tpr.errors import ConfigError

ORDERS = """
CHB HCB HCB CFB HCB BCF CFH BCF CAB HCA HCA FCA HCA CAH AHB AHB CFH FACBH HAFCB FCABH FCABH HFCAB FACBH CAFBH
FCABH HFCAB FACBH FCABH CFABH FACBH AFCBH HCFAB AFCBH CFABH AFCBH HFCAB FACBH AFCBH HAFCB ACFBH ACFBH HACFB
ACFBH ACFBH CAFBH CAFBH
"""
STRUCTURES = ORDERS.split()


@pytest.fixture(scope="module")
def templates() -> tuple[str, ...]:
    return read_texts(SHIPPED).templates


def test_the_templates_have_the_published_slot_orders(templates: tuple[str, ...]) -> None:
    found = ["".join(slot[0].upper() for slot in slots_of(template)) for template in templates]
    assert found == STRUCTURES
    assert len(set(templates)) == 46
    assert Counter("".join(found)) == {"C": 44, "H": 41, "B": 39, "A": 37, "F": 35}
    assert Counter(map(len, found)) == {3: 17, 5: 29}


def test_the_templates_have_the_published_sentences_and_openings(templates: tuple[str, ...]) -> None:
    sentences = [template.count(".") for template in templates]
    assert Counter(sentences) == {1: 27, 2: 19}
    assert [template.count(SUBJECT) for template in templates] == sentences
    openings = Counter(re.sub(r"^(The|A) \[.*", "subject", template).split()[0] for template in templates)
    wanted = {"subject": 21, "With": 9, "In": 6, "Wearing": 3, "Sporting": 3, "Carrying": 2, "Dressed": 2}
    assert openings == wanted
    assert min(map(len, templates)) >= 105 and max(map(len, templates)) <= 204


def test_instructions_take_the_template_in_full() -> None:
    texts = read_texts(SHIPPED)
    assert {"static", "dynamic", "infrared"} <= set(texts.instructions)
    assert texts.templates[4] in texts.instruct("dynamic", 4)
    assert not texts.takes_template("static") and "{" not in texts.instruct("static", None)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("The [person/woman/man] has [shoe description].", "'[shoe description]' is no slot"),
        ("The [person/woman/man] has [hair description.", "'[hair description.' is no slot"),
        ("The person has [hair description].", "needs [person/woman/man]"),
        ("# nothing but a comment", "holds no template"),
    ],
)
def test_a_template_outside_of_the_grammar_is_named(tmp_path, line: str, words: str) -> None:
    (tmp_path / "templates.txt").write_text(line)
    with pytest.raises(ConfigError, match=re.escape(words)):
        read_templates(tmp_path / "templates.txt")
