"""Captions -> token rows and masked words: Python per caption against cached ids and whole-batch masking."""

import numpy as np
import torch
from torch import Tensor

from benchmarks.inputs import draw_captions
from benchmarks.reference.captions import build_tokenizer, mask_in_place, tokenize_caption
from benchmarks.report import Case, Report
from benchmarks.timing import interleave
from tpr.data.text.masking import mask_words
from tpr.data.text.tokens import CLIP_TOKENIZER, END, MASK, START, tokenize

BATCH, LENGTH = 64, 77
CLEAN = [
    "",
    " ",
    "\t\n\r\x0b\x0c",
    "!",
    "a" * 3000,
    "word " * 10_000,
    "ten thousand exclamation marks " + "!" * 10_000,
    "A man &amp; a woman &lt;3 &quot;quoted&quot; &#39;html&#39; &amp;amp; twice",
    "mojibake: schÃ¶n, naÃ¯ve cafÃ©, â€œcurlyâ€\x9d",
    "curly “quotes” and ‘apostrophes’ don’t — dash … ellipsis",
    "It's they're we've I'm she'll he'd DON'T CAN'T",
    "一个穿红色上衣的男人",
    "emoji 🚶🏽‍♀️👜 and combining e\u0301 A\u030a",
    "zero\u200bwidth, non\u00a0breaking, right\u202eto\u202cleft",
    "control \x00 \x01 \x07 \x1b[31m characters",
    "numbers 1234567890 3.14 ½ ² Ⅷ ١٢٣",
    "UPPER lower MiXeD İstanbul ſharp ẞ",
    "a-b_c/d\\e|f@g#h$i%j^k*l(m)n+o=p{q}r[s]t;u:v,w.x?y~z`",
    "ﬁ ligature ﬂ, full-width Ａ Ｂ Ｃ",
    "\ufeffbyte order mark, lone surrogate out of place \ufffd",
    "jekyll and Mr. Jekyll's JEKYLL",
]
SPECIAL = [
    "a man <|endoftext|> in red",
    "<start_of_text> a woman <end_of_text> in blue",
    "<|mask|> <|startoftext|>",
]
"""Strings that the published tokenizer reads as control tokens; here they must stay ordinary words."""


def run(quick: bool) -> Report:
    """Batches of 64 captions of about 33 tokens, 77 positions."""
    captions = draw_captions(1024 if quick else 8192)
    conditions = f"batches of {BATCH} captions, {LENGTH} positions, int64, {torch.get_num_threads()} threads"
    report = Report("text", conditions)
    _time_tokens(report, captions, rounds=5 if quick else 9, goal=None if quick else 50)
    _time_masks(report, captions[:BATCH], rounds=5 if quick else 9, goal=None if quick else 50)
    _check_ids(report, captions)
    _check_masks(report, captions[:1024])
    return report


def _time_tokens(report: Report, captions: list[str], *, rounds: int, goal: float | None) -> None:
    tokenizer = build_tokenizer()
    ids, offsets = CLIP_TOKENIZER.encode(captions)
    numbers = np.random.default_rng(1).permutation(len(captions))
    batches = [numbers[start : start + BATCH] for start in range(0, len(numbers), BATCH)]

    def read_python() -> list[Tensor]:
        return [torch.stack([tokenize_caption(captions[n], tokenizer) for n in batch]) for batch in batches]

    def read_cached() -> list[Tensor]:
        return [torch.from_numpy(CLIP_TOKENIZER.arrange(ids, offsets, batch, LENGTH)) for batch in batches]

    timing = interleave(read_python, read_cached, rounds=rounds)
    report.cases.append(Case("Python word pieces, cached ids", timing, goal, len(captions)))
    same = all(torch.equal(a, b) for a, b in zip(read_python(), read_cached(), strict=True))
    report.check(f"{len(captions):,} captions: ids equal", same, "every row")
    timing = interleave(read_python, lambda: tokenize(captions), rounds=3)
    report.cases.append(Case("Python word pieces, ids made anew", timing, None, len(captions)))


def _time_masks(report: Report, captions: list[str], *, rounds: int, goal: float | None) -> None:
    tokens = tokenize(captions)
    index = torch.arange(len(tokens))

    def mask_python() -> tuple[Tensor, Tensor]:
        pairs = [mask_in_place(row.copy()) for row in tokens.numpy()]
        masked, labels = zip(*pairs, strict=True)
        return torch.stack(masked), torch.stack(labels)

    timing = interleave(
        mask_python,
        lambda: mask_words(tokens, 0.15, caption_index=index, seed=1, epoch=1, tokenizer=CLIP_TOKENIZER),
        rounds=rounds,
        repeats_b=20,
    )
    report.cases.append(Case("masking a batch", timing, goal, len(captions)))


def _check_ids(report: Report, captions: list[str]) -> None:
    tokenizer = build_tokenizer()
    expected = torch.stack([tokenize_caption(text, tokenizer) for text in CLEAN])
    found = tokenize(CLEAN)
    different = [CLEAN[row][:40] for row in (expected != found).any(1).nonzero()[:, 0].tolist()]
    report.check(f"{len(CLEAN)} nasty strings: ids equal", not different, different or "every row")
    together, alone = (
        tokenize(captions[:50] + CLEAN),
        torch.cat([tokenize([t]) for t in captions[:50] + CLEAN]),
    )
    report.check(
        "ids do not depend on the other captions", torch.equal(together, alone), "one by one = together"
    )
    special = tokenize(SPECIAL)
    ends, starts = (special == END).sum(1), (special == START).sum(1)
    clean = bool((ends == 1).all() and (starts == 1).all() and (special != MASK).all())
    report.check(
        "control tokens in a caption stay words", clean, f"{len(SPECIAL)} strings, one start and one end each"
    )


def _check_masks(report: Report, captions: list[str]) -> None:
    """Rates within five standard deviations, labels only on words, at least one label a caption."""
    tokens = tokenize(captions)
    masked, labels = mask_words(
        tokens, 0.15, caption_index=torch.arange(len(tokens)), seed=1, epoch=1, tokenizer=CLIP_TOKENIZER
    )
    words = (tokens > 0) & (tokens < MASK)
    chosen = labels != 0
    sound = torch.equal(labels[chosen], tokens[chosen]) and torch.equal(masked[~chosen], tokens[~chosen])
    report.check(
        "labels are the original ids, other places are untouched", sound, f"{int(chosen.sum()):,} labels"
    )
    report.check(
        "every caption has a label, only words have", chosen.any(1).all() and not chosen[~words].any(), "all"
    )
    share, became = float(chosen[words].float().mean()), float((masked[chosen] == MASK).float().mean())
    near = (
        abs(share - 0.15) < 5 * (0.13 / int(words.sum())) ** 0.5
        and abs(became - 0.8) < 5 * (0.16 / chosen.sum()) ** 0.5
    )
    report.check("15 % of words are chosen, 80 % of them masked", near, f"{share:.3f} and {became:.3f}")
