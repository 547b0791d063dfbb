"""The raw tree: merging, bases, overrides, origins, and every message about a file."""

import pickle

import pytest
from easydict import EasyDict

from tpr.config.reader import named_groups, read_tree
from tpr.config.yaml_entries import TOO_DEEP, parse_values
from tpr.errors import ConfigError


def message(path, overrides=()):
    with pytest.raises(ConfigError) as caught:
        read_tree(path, overrides)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_tree_is_an_easydict_and_keys_that_hide_methods_are_kept(write):
    tree = read_tree(write("a.yaml", "items: {keys: {update: 3}}\npop: [1, {get: 2}]\n"))
    assert isinstance(tree.values, EasyDict)
    assert tree.values["items"]["keys"]["update"] == 3
    assert tree.values.pop[1].get == 2
    assert tree.origins["items.keys.update"] == "a.yaml:1"


# Rule 1


def test_mappings_merge_key_by_key_and_lists_are_replaced(write):
    write("base.yaml", "optim: {lr: 1, betas: [0.9, 0.99]}\ndata: {augment: {flip: 0.5, pad: 10}}\n")
    tree = read_tree(write("a.yaml", "base: base.yaml\noptim:\n  betas: [0.1]\ndata: {augment: {pad: 0}}\n"))
    assert tree.values == {"optim": {"lr": 1, "betas": [0.1]}, "data": {"augment": {"flip": 0.5, "pad": 0}}}
    assert tree.origins["optim.lr"] == "base.yaml:1"
    assert tree.origins["optim.betas"] == "a.yaml:3"
    assert tree.origins["optim.betas[0]"] == "a.yaml:3"
    assert "optim.betas[1]" not in tree.origins


def test_of_several_bases_the_later_wins_and_the_file_wins_over_all(write):
    write("one.yaml", "a: 1\nb: 1\nc: 1\n")
    write("two.yaml", "b: 2\nc: 2\n")
    tree = read_tree(write("x.yaml", "base: [one.yaml, two.yaml]\nc: 3\n"))
    assert tree.values == {"a": 1, "b": 2, "c": 3}


def test_bases_are_relative_to_their_file_not_to_the_working_folder(write):
    write("shared/deep.yaml", "a: 1\n")
    write("shared/b.yaml", "base: deep.yaml\n")
    path = write("irra/x.yaml", "base: ../shared/b.yaml\n")
    assert read_tree(path).origins == {"a": "shared/deep.yaml:1"}


def test_a_circle_of_bases_is_reported_with_its_path(write):
    write("b.yaml", "base: a.yaml\n")
    assert message(write("a.yaml", "base: b.yaml\n")) == (
        "base files form a circle: a.yaml -> b.yaml -> a.yaml"
    )
    assert message(write("self.yaml", "base: self.yaml\n")) == (
        "base files form a circle: self.yaml -> self.yaml"
    )


def test_the_same_base_reached_twice_is_no_circle(write):
    write("root.yaml", "a: 1\n")
    write("b.yaml", "base: root.yaml\n")
    write("c.yaml", "base: root.yaml\n")
    assert read_tree(write("x.yaml", "base: [b.yaml, c.yaml]\n")).values == {"a": 1}


def test_a_missing_base_names_the_line(write):
    assert message(write("a.yaml", "x: 1\nbase: [no.yaml]\n")) == (
        "base: no file 'no.yaml' next to this one; bases are relative to their file (in a.yaml:2)"
    )
    assert message(write("b.yaml", "base: {x: 1}\n")) == (
        "base: expected a file or a list of files, got {'x': 1} (in b.yaml:1)"
    )


# Rule 2


def test_the_schema_tells_which_groups_are_named():
    assert named_groups() == {"system", "model"}


def test_another_name_starts_the_group_afresh(write):
    write("base.yaml", "system: {name: irra, temperature: 0.5}\n")
    assert read_tree(write("a.yaml", "base: base.yaml\nsystem: {name: rde, tau: 1}\n")).values == {
        "system": {"name": "rde", "tau": 1}
    }
    assert read_tree(write("b.yaml", "base: base.yaml\nsystem: rde\n")).values == {"system": {"name": "rde"}}


def test_the_same_name_keeps_the_options_of_the_base(write):
    write("base.yaml", "system: {name: irra, temperature: 0.5}\n")
    tree = read_tree(write("a.yaml", "base: base.yaml\nsystem: irra\n"))
    assert tree.values.system == {"name": "irra", "temperature": 0.5}


def test_a_name_that_appears_for_the_first_time_drops_nothing(write):
    write("base.yaml", "system: {temperature: 0.5}\n")
    write("plain.yaml", "system: {losses: {itc: 1}}\n")
    tree = read_tree(write("a.yaml", "base: [base.yaml, plain.yaml]\nsystem: irra\n"))
    assert tree.values.system == {"name": "irra", "temperature": 0.5, "losses": {"itc": 1}}


def test_a_bare_name_in_the_base_takes_options_from_the_file(write):
    write("base.yaml", "system: irra\n")
    tree = read_tree(write("a.yaml", "base: base.yaml\nsystem: {temperature: 0.5}\n"))
    assert tree.values.system == {"name": "irra", "temperature": 0.5}


@pytest.mark.parametrize(
    "overrides",
    [
        ["system.name=rde", "system.tau=3"],
        ["system=rde", "system.tau=3"],
        ["system.tau=3", "system=rde"],
        ["system={name: rde, tau: 3}"],
    ],
)
def test_an_override_of_the_name_starts_afresh_and_keeps_the_options_given_beside_it(write, overrides):
    tree = read_tree(write("a.yaml", "system: {name: irra, temperature: 0.5}\n"), overrides)
    assert tree.values == {"system": {"name": "rde", "tau": 3}}
    assert set(tree.origins.values()) == {"command line"}


def test_groups_whose_name_is_a_plain_option_merge_as_ever(write):
    tree = read_tree(write("a.yaml", "optim: {name: adam, lr: 1}\n"), ["optim.name=sgd"])
    assert tree.values == {"optim": {"name": "sgd", "lr": 1}}
    tree = read_tree(write("b.yaml", "optim: {name: adam, lr: 1}\n"), ["optim.name=sgd"], named=["optim"])
    assert tree.values == {"optim": {"name": "sgd"}}


# Overrides


def test_override_values_are_read_as_yaml(write):
    overrides = [
        "data.test=[cuhk_pedes,icfg_pedes]",
        "model.architecture={width: 64, layers: 2}",
        "optim.clip=null",
        "a.b=",
        "c=true",
        "d=x=y",
        "e=1e-4",
    ]
    tree = read_tree(write("a.yaml", "data: {batch: 8}\n"), overrides)
    assert tree.values.data == {"batch": 8, "test": ["cuhk_pedes", "icfg_pedes"]}
    assert tree.values.model.architecture == {"width": 64, "layers": 2}
    assert (tree.values.optim.clip, tree.values.a.b, tree.values.c) == (None, None, True)
    assert (tree.values.d, tree.values.e) == ("x=y", "1e-4")
    assert tree.origins["data.batch"] == "a.yaml:1"
    assert tree.origins["data.test[1]"] == "command line"


def test_of_equal_overrides_the_later_wins(write):
    assert read_tree(write("a.yaml", "x: 0\n"), ["x=1", "x=2"]).values == {"x": 2}


@pytest.mark.parametrize("text", ["optim.lr", "=3", "optim..lr=3", ".lr=3", "lr.=3", ""])
def test_a_malformed_override_is_refused(write, text):
    assert message(write("a.yaml", "x: 1\n"), [text]) == (f"command line: expected key=value, got '{text}'")


def test_an_override_that_is_no_yaml_is_quoted(write):
    text = message(write("a.yaml", "x: 1\n"), ["data.test=[a"])
    assert text.startswith("command line: data.test=[a: not valid YAML: expected ',' or ']'")


def test_an_override_of_a_list_entry_or_of_base_says_what_to_do(write):
    path = write("a.yaml", "x: 1\n")
    assert message(path, ["data.train[0].images=3"]) == (
        "command line: data.train[0].images: entries of a list are not set one by one; "
        "give the whole list, data.train=[...]"
    )
    assert message(path, ["base=b.yaml"]) == "command line: base belongs into a config file"


@pytest.mark.parametrize("text", ["[[=1", "[optim.lr]=1", "optim.[lr=1"])
def test_an_override_without_a_name_is_told_what_one_looks_like(write, text):
    key = text.removesuffix("=1")
    assert message(write("a.yaml", "x: 1\n"), [text]) == (
        f"command line: {key} is no option's name; expected key=value, such as optim.lr=1e-5"
    )


# Rule 3, the half that belongs to YAML


def test_words_and_digits_that_yaml_1_1_reinterprets_stay_text(write):
    tree = read_tree(write("a.yaml", "a: [on, no, y, 010, 1:30, 1e-4, 0x10, 2024-01-01, =]\n"))
    assert tree.values.a == ["on", "no", "y", "010", "1:30", "1e-4", "0x10", "2024-01-01", "="]


def test_plain_values_are_what_they_look_like(write):
    tree = read_tree(write("a.yaml", "a: [true, False, 0, -7, 50_000, 1.5, 1.0e-5, ~, null, 'true', .5]\n"))
    assert tree.values.a == [True, False, 0, -7, 50000, 1.5, 1e-5, None, None, "true", 0.5]
    assert [type(value) for value in tree.values.a[:3]] == [bool, bool, int]


def test_a_repeated_key_is_an_error_with_both_lines(write):
    assert message(write("a.yaml", "optim:\n  lr: 1\n  eps: 2\n  lr: 3\n")) == (
        "a.yaml:4: the key 'lr' was already given in line 2"
    )
    assert message(write("b.yaml", "x: {a: 1, a: 2}\n")) == (
        "b.yaml:1: the key 'a' was already given in line 1"
    )


def test_anchors_and_merge_keys_work_and_own_keys_win(write):
    tree = read_tree(write("a.yaml", "one: &o {a: 1, b: 1}\ntwo:\n  <<: *o\n  b: 2\n"))
    assert tree.values.two == {"a": 1, "b": 2}
    assert (tree.origins["two.a"], tree.origins["two.b"]) == ("a.yaml:1", "a.yaml:4")


# Files that are no config


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", "a.yaml: the file holds no options; expected lines such as 'system: NAME'"),
        ("# only a comment\n", "a.yaml: the file holds no options; expected lines such as 'system: NAME'"),
        ("\n- a\n- b\n", "a.yaml:2: expected options as 'key: value', got ['a', 'b']"),
        ("irra\n", "a.yaml:1: expected options as 'key: value', got 'irra'"),
        (
            "optim:\n\tlr: 1\n",
            "a.yaml:2: not valid YAML: found character '\\t' that cannot start any token; "
            "indent with spaces, not tabs",
        ),
        ("a: 1\nb: [1, 2\nc: 3\n", "a.yaml:3: not valid YAML: expected ',' or ']', but got ':'"),
        ("a: *b\n", "a.yaml:1: not valid YAML: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2\n", "a.yaml:2: not valid YAML: but found another document"),
        (
            "a: 1\nb: !!python/object:os.system x\n",
            "a.yaml:2: values of the kind tag:yaml.org,2002:python/object:os.system are not allowed",
        ),
        ("a: !!python/object/apply:os.mkdir [x]\n", None),
        ("a: !!timestamp x\n", "a.yaml:1: values of the kind tag:yaml.org,2002:timestamp are not allowed"),
        ("a: !!bool abc\n", "a.yaml:1: 'abc' is no value of the kind tag:yaml.org,2002:bool"),
        ("a: !!int ''\n", "a.yaml:1: '' is no value of the kind tag:yaml.org,2002:int"),
        ("a: !!float abc\n", "a.yaml:1: 'abc' is no value of the kind tag:yaml.org,2002:float"),
        ("a: !!float ''\n", "a.yaml:1: '' is no value of the kind tag:yaml.org,2002:float"),
        ("a: !!float [1]\n", "a.yaml:1: values of the kind tag:yaml.org,2002:float are not allowed"),
        ("a: !!omap [{x: 1}]\n", "a.yaml:1: values of the kind tag:yaml.org,2002:omap are not allowed"),
        ("a: " + "9" * 5000, None),
        ('a: "\\U00110000"\n', "a.yaml:1: not valid YAML: an escape such as \\U00110000 is no letter"),
        ('a: "\\uD800"\n', "a.yaml:1: '\\ud800' holds half a letter, which no file can hold"),
        ("a: {<<: 5}\n", "a.yaml:1: '<<' takes mappings, got 5"),
        ("a: 1\n" + "# long\n" * 200_000, "a.yaml: no config file, it has more than 1,000,000 bytes"),
        ("a: 1\nb: !!set {x}\n", "a.yaml:2: values of the kind tag:yaml.org,2002:set are not allowed"),
        ("a: !!binary aGk=\n", "a.yaml:1: values of the kind tag:yaml.org,2002:binary are not allowed"),
        ("a: !!int x\n", "a.yaml:1: 'x' is no value of the kind tag:yaml.org,2002:int"),
        ("a: 1\n5: x\n", "a.yaml:2: expected a name before the colon, got 5; write it in quotes"),
        ("true: x\n", "a.yaml:1: expected a name before the colon, got True; write it in quotes"),
        ("? [a]\n: 1\n", "a.yaml:1: values of the kind tag:yaml.org,2002:seq are not allowed"),
        ("__class__: x\n", "a.yaml:1: '__class__' cannot be the name of an option"),
        ('"a\\nb": x\n', "a.yaml:1: 'a\\nb' cannot be the name of an option"),
        ("a: \x00\n", "a.yaml:1: not valid YAML: special characters are not allowed"),
        (b"a: \xff\n", "a.yaml: not a text file in UTF-8 (byte 3)"),
        ("a: &a [*a]\n", f"a.yaml:1: {TOO_DEEP}"),
        ("a: &a {<<: *a}\n", f"a.yaml:1: {TOO_DEEP}"),
        ("[" * 3000, f"a.yaml:1: {TOO_DEEP}"),
        ("{a: " * 400 + "1" + "}" * 400, f"a.yaml:1: {TOO_DEEP}"),
        ("{a: " * 60 + "1" + "}" * 60, f"a.yaml:1: {TOO_DEEP}"),
    ],
)
def test_a_file_that_is_no_config_gives_one_line(write, content, expected):
    text = message(write("a.yaml", content))
    if expected is None:
        assert text.startswith("a.yaml:1: ")
    else:
        assert text == expected


def test_aliases_of_aliases_cannot_fill_the_memory(write):
    lines = ["l0: &l0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "more than 20000 values" in message(write("a.yaml", "\n".join(lines)))


def test_mappings_that_are_merged_many_times_cannot_fill_the_memory(write):
    lines = ["l0: &l0 {a: 1, b: 2}"]
    lines += [f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 10)}]}}" for n in range(1, 9)]
    assert "more than 20000 values" in message(write("a.yaml", "\n".join(lines)))


@pytest.mark.parametrize(
    ("base", "problem"),
    [
        ("a" * 300 + ".yaml", "expected a path of at most 4095 bytes and 255 in each name, got "),
        ("a/" * 3000, "expected a path of at most 4095 bytes and 255 in each name, got "),
        ('"a\\0b"', "expected a path, got 'a\\x00b'"),
        ("''", "expected a path, got ''"),
        ("[a, 5]", "expected a file or a list of files, got ['a', 5]"),
        (f"{'a/' * 2040}b", "no file "),
    ],
)
def test_a_base_that_no_file_can_be_is_one_line(write, base, problem):
    write("x/a", "c: 1\n")
    text = message(write("x/a.yaml", f"b: 1\nbase: {base}\n"))
    assert text.startswith(f"base: {problem}")
    assert text.endswith("(in x/a.yaml:2)")


def test_a_base_may_lie_in_the_home_folder(write, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write("home/own.yaml", "a: 1\n")
    assert read_tree(write("x/a.yaml", "base: ~/own.yaml\n")).values == {"a": 1}


@pytest.mark.slow
@pytest.mark.parametrize("value", ["!!timestamp x", "!!bool abc", "!!int ''", "!!float abc", "!!binary x",
                                   "!!set {x}", "!!python/name:os.system x", "'", "9" * 5000, "[" * 3000,
                                   '"\\U00110000"'])  # fmt: skip
def test_words_of_every_command_are_read_like_a_file(write, value):
    text = message(write("a.yaml", "x: 1\n"), [f"x={value}"])
    assert text.startswith("command line: x=")
    assert len(text) < 300
    with pytest.raises(ConfigError) as caught:
        parse_values([f"x={value}"])
    assert str(caught.value) == text


def test_names_within_names_on_the_command_line_end_somewhere(write):
    text = message(write("a.yaml", "x: 1\n"), ["a." * 5000 + "a=1"])
    assert text.startswith("command line: a.a.") and text.endswith("...: more than 50 names")


def test_a_config_that_links_to_itself_or_has_no_working_folder_is_one_line(write, tmp_path, monkeypatch):
    (tmp_path / "one.yaml").symlink_to("two.yaml")
    (tmp_path / "two.yaml").symlink_to("one.yaml")
    assert message(write("a.yaml", "x: 1\n").with_name("one.yaml")).startswith("one.yaml: cannot be read (")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert message("b.yaml").startswith("b.yaml: cannot be read (")
    assert read_tree(tmp_path / "a.yaml").values == {"x": 1}


def test_a_missing_file_suggests_the_nearest_one(write):
    write("irra/cuhk_pedes.yaml", "a: 1\n")
    path = write("irra/other.yaml", "a: 1\n").with_name("cuhk_pede.yaml")
    assert message(path) == "irra/cuhk_pede.yaml: no such config file (did you mean 'cuhk_pedes.yaml'?)"
    assert message(path.parent) == "irra: cannot be read (Is a directory)"
    assert message(path.with_name("lr=3")) == "lr=3: a config file is expected before any key=value"


def test_a_byte_order_mark_and_windows_lines_do_no_harm(write):
    tree = read_tree(write("a.yaml", b"\xef\xbb\xbfa: 1\r\nb: 2\r\n"))
    assert tree.values == {"a": 1, "b": 2}
    assert tree.origins["b"] == "a.yaml:2"


def test_a_tree_can_be_pickled(write):
    tree = read_tree(write("a.yaml", "a: {b: [1]}\n"))
    assert pickle.loads(pickle.dumps(tree.values)) == tree.values
