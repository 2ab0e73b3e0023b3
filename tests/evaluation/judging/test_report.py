"""Tables of judgements."""

import io

from rich.console import Console

from crs_gym.evaluation.judging import Figure, Measures, Row, report
from crs_gym.evaluation.statistics import Interval


def printed(table):
    console = Console(width=80, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def test_nothing_is_cut_on_a_terminal_of_80_columns():
    some, less = Interval(0.5, 0.375, 0.625), Interval(-0.25, -0.375, -0.125)
    rows = [Row(7, 123_456, some, some, less, 98_765, 87_654)]
    shown = printed(report.judged_table("tiny@abcdef012345, talks", rows))
    assert "…" not in shown
    (row,) = [line.split() for line in shown.splitlines() if "123456" in line]
    assert " ".join(row) == "7 123456 0.500 ± 0.125 0.500 ± 0.125 -0.250 ± 0.125 98765 87654"
    assert "Coins" not in printed(report.judged_table("x", [rows[0]._replace(asked_again=0)]))

    figures = (
        Figure("films named with a wrong year", 123_456, 12.5, 12.25, 12.75),
        Figure("redundant acts", 0),
    )
    found = Measures("text", 3, 4, figures, {"user": [0.5, None]})
    shown = printed(report.measured_table({"text": found, "template": found}))
    assert "…" not in shown
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    twice = " 12.500 ± 0.250 123456" * 2
    assert f"films named with a wrong year{twice}" in lines
    assert "Dist-1, user 0.500 0.500" in lines
    assert "Dist-2, user - -" in lines
