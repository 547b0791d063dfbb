"""Guesses, short values, titles."""

from tests.config.schema_for_tests import Irra, Sizes
from tpr.config.messages import class_title, guess, show_value
from tpr.config.schema import OptimOptions


def test_a_guess_is_the_nearest_name_or_the_only_one_that_begins_so():
    assert guess("ler", ["lr", "betas"]) == " (did you mean 'lr'?)"
    assert guess("cuhk", ["cuhk_pedes", "icfg_pedes"]) == " (did you mean 'cuhk_pedes'?)"
    assert guess("lup", ["luperson_mllm", "cuhk_pedes"]) == " (did you mean 'luperson_mllm'?)"
    assert guess("lu", ["luperson_mllm", "ham_pedes"]) == ""
    assert guess("syn", ["synth_pedes_one", "synth_pedes_two"]) == ""
    assert guess("qqq", []) == ""


def test_a_shown_value_is_short_and_on_one_line():
    assert show_value(None) == "null"
    assert show_value("a\nb") == "'a\\nb'"
    assert len(show_value("x" * 1000)) == 80


def test_a_title_names_the_owner_of_options():
    class Options:
        pass

    Options.__qualname__, Options.__module__ = "Options", "tpr.systems.tvi_lfm"
    assert class_title(OptimOptions) == "Optim"
    assert class_title(Irra.Options) == "Irra"
    assert class_title(Sizes) == "Sizes"
    assert class_title(Options) == "TviLfm"
