from tpr.evaluation.metrics import Metrics
from tpr.evaluation.results import Results, Row
from tpr.report.tables import compare_runs, join_before_and_after, to_markdown


def results(**r1: float) -> Results:
    rows = []
    for name, value in r1.items():
        metrics = Metrics(r1=value, r5=value + 1, r10=value + 2, map=value / 2, minp=value / 4, queries=9)
        rows.append(Row(name, "text_to_image", metrics))
    return Results(tuple(rows))


def test_direct_transfer_stands_beside_fine_tuned() -> None:
    table = join_before_and_after(results(a=10, b=20), results(a=50, b=30)).to_table().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in table if line.startswith("| ")]
    assert rows == [
        ["set", "model", "R@1"],
        ["a", "direct transfer", "10.00"],
        ["b", "direct transfer", "20.00"],
        ["mean", "direct transfer", "15.00"],
        ["a", "fine-tuned", "50.00"],
        ["b", "fine-tuned", "30.00"],
        ["mean", "fine-tuned", "40.00"],
    ]
    assert sum(line.startswith("+") for line in table) == 6


def test_markdown_table() -> None:
    assert to_markdown(Results(results(a=10).rows, "beware")) == "\n".join(
        [
            "| set | R@1 | R@5 | R@10 | mAP | mINP |",
            "| :--- | ---: | ---: | ---: | ---: | ---: |",
            "| a | 10.00 | 11.00 | 12.00 | 5.00 | 2.50 |",
            "",
            "Beware.",
        ]
    )


def test_runs_side_by_side_as_in_the_papers() -> None:
    runs = {"one": results(a=10, b=20), "two": join_before_and_after(results(b=1), results(b=2))}
    assert compare_runs(runs, markdown=True).splitlines() == [
        "| run | a R@1 | a R@5 | a R@10 | a mAP | b R@1 | b R@5 | b R@10 | b mAP |",
        "| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| one | 10.00 | 11.00 | 12.00 | 5.00 | 20.00 | 21.00 | 22.00 | 10.00 |",
        "| two (direct transfer) | - | - | - | - | 1.00 | 2.00 | 3.00 | 0.50 |",
        "| two (fine-tuned) | - | - | - | - | 2.00 | 3.00 | 4.00 | 1.00 |",
    ]
    assert "one" in compare_runs(runs)
