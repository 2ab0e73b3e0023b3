import csv
import json

import pytest

from crs_gym.evaluation.rating.findings import outcome, report
from crs_gym.evaluation.rating.forms import Judgement, Preference, aspects_of
from crs_gym.evaluation.rating.report import COLUMNS, print_report
from crs_gym.evaluation.rating.store import Store
from tests.evaluation.rating.talks import a_study, all_better, good


def judge_all(store, name, fill, kind="person"):
    """Has a judge fill in all that is left: `fill` takes the assignment."""
    rater = store.rater(name, kind)
    while (assignment := store.next(rater)) is not None:
        store.answer(assignment.id, fill(assignment))


def is_rewritten(lines):
    return lines[0][1].startswith("Well. ")


@pytest.fixture
def judged(tmp_path):
    """Three people and a model about four dialogues; two people find fault with number 2."""
    store = Store.begin(tmp_path / "ratings.db", a_study(dialogues=4))

    def critical(remark, turns):
        no = Judgement(False, turns, remark)
        return lambda shown: good(fluency=no) if shown.number == 2 else good()

    judge_all(store, "Ann", critical("[bold]odd\x1b[31m", (1,)))
    judge_all(store, "Bob", critical("", (1,)))
    judge_all(store, "Cy", lambda shown: good())
    everything_wrong = good(factuality=Judgement(False, (1,), "untrue"))
    judge_all(store, "tiny", lambda shown: everything_wrong, "model")
    return store


def rows(group):
    return {row.aspect: row for row in group.rows}


def test_shares_agreement_and_faults(judged):
    found = report(judged)
    people, model = found.groups
    assert (people.name, people.kind, model.name, model.kind) == (
        *("people", "person"),
        *("tiny", "model"),
    )
    assert (people.raters, people.dialogues, people.forms) == (3, 4, 12)
    fluency = rows(people)["fluency"]
    assert (fluency.n, fluency.shares["yes"].times, fluency.shares["no"].times) == (12, 10, 2)
    # units yyy yyy yyy nny: D_o = 4 / 2 / 12, D_e = 2 * 2 * 10 / (12 * 11)
    assert fluency.alpha == pytest.approx(1 - (2 / 12) / (40 / 132))
    assert rows(people)["factuality"].alpha is None  # all say yes
    assert rows(people)["factuality"].shares["yes"].share == 1
    assert rows(model)["factuality"].shares["yes"].share == 0
    assert rows(model)["fluency"].alpha is None  # one judge
    (fault,) = people.faults
    assert (fault.dialogue, fault.turn, fault.aspect) == (2, 1, "fluency")
    assert (fault.raters, fault.feedback) == (("Ann", "Bob"), ("[bold]odd\x1b[31m",))
    shown = next(shown for shown in judged.study.dialogues if shown.number == 2)
    assert (fault.recommender, fault.user) == (shown.text[0][1], shown.text[1][1])
    assert [fault.dialogue for fault in model.faults] == [0, 1, 2, 3]


def test_sides_are_told_apart_again(tmp_path):
    store = Store.begin(tmp_path / "ratings.db", a_study("pair", 8))
    seen = set()

    def prefers_rewritten(shown):
        first = is_rewritten(shown.first)
        seen.add(first)
        assert is_rewritten(shown.second) != first
        template = Preference("second" if first else "first")
        return all_better(
            "first" if first else "second",
            fluency=template,
            overall=Preference("same"),
        )

    judge_all(store, "Ann", prefers_rewritten)
    judge_all(store, "Bob", prefers_rewritten)
    judge_all(store, "Cy", lambda shown: all_better("first"))
    assert seen == {True, False}
    (people,) = report(store).groups
    by_side = sum(rating.rewritten_first for rating in store.ratings() if rating.rater == "Cy")
    found = {
        name: {k: s.times for k, s in row.shares.items()} for name, row in rows(people).items()
    }
    assert [*found] == [aspect.name for aspect in aspects_of("pair")]
    assert found["progress"] == {"same": 0, "rewritten": 16 + by_side, "template": 8 - by_side}
    assert found["fluency"] == {"same": 0, "rewritten": by_side, "template": 24 - by_side}
    assert found["overall"] == {"same": 16, "rewritten": by_side, "template": 8 - by_side}
    assert people.faults == ()


@pytest.mark.parametrize(
    ("answer", "rewritten_first", "what"),
    [
        (Preference("first"), True, "rewritten"),
        (Preference("first"), False, "template"),
        (Preference("second"), True, "template"),
        (Preference("second"), False, "rewritten"),
        (Preference("same"), True, "same"),
        (Preference("same"), False, "same"),
        (Judgement(True), False, "yes"),
        (Judgement(False, (1,)), True, "no"),
    ],
)
def test_outcomes(answer, rewritten_first, what):
    assert outcome(answer, rewritten_first) == what


def test_surplus_and_unanswered_are_counted_and_left_out(tmp_path):
    now = [0.0]
    study = a_study(dialogues=1, raters=1)
    store = Store.begin(tmp_path / "ratings.db", study, hold=10, clock=lambda: now[0])
    late = store.next(store.rater("late"))
    now[0] = 11
    judge_all(store, "in time", lambda shown: good())
    store.answer(late.id, good(progress=Judgement(False, (1,))))
    model = store.rater("tiny", "model")
    store.give_up(store.pending(model)[0].id, "no form")
    people, model = report(store).groups
    assert (people.forms, people.raters, people.surplus) == (1, 1, 1)
    assert rows(people)["progress"].shares["yes"].share == 1
    assert people.faults == ()
    assert (model.forms, model.unanswered, rows(model)["progress"].n) == (0, 1, 0)
    assert rows(model)["progress"].shares["yes"].share is None


def test_printed_and_as_json(judged, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    print_report(judged.path, tmp_path / "report.json")
    printed = capsys.readouterr().out
    assert "Judged by people" in printed
    assert "Judged by tiny" in printed
    assert "83.3% (55.2–95.3)" in printed  # 10 of 12, Wilson's interval
    assert "[bold]odd [31m" in printed
    assert "\x1b" not in printed
    written = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert [group["name"] for group in written["groups"]] == ["people", "tiny"]
    fluency = next(r for r in written["groups"][0]["rows"] if r["aspect"] == "fluency")
    assert fluency["shares"]["yes"]["times"] == 10
    assert fluency["shares"]["yes"]["share"] == 10 / 12
    assert written["groups"][0]["faults"][0]["turn"] == 1


def test_single_answers_as_csv(judged, tmp_path, capsys):
    model = judged.rater("mute", "model")
    judged.give_up(judged.pending(model)[0].id, "said nothing")
    print_report(judged.path, tmp_path / "answers.CSV")
    with (tmp_path / "answers.CSV").open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert tuple(written[0]) == COLUMNS
    assert len(written) == 16 * 8 + 1
    (ann,) = [r for r in written if (r["rater"], r["answer"]) == ("Ann", "no")]
    assert (ann["dialogue"], ann["aspect"], ann["turns"]) == ("2", "fluency", "1")
    assert (ann["feedback"], ann["surplus"]) == ("[bold]odd\x1b[31m", "0")
    assert (written[-1]["rater"], written[-1]["reason"]) == ("mute", "said nothing")
    assert written[-1]["answer"] == ""


def test_nothing_judged_and_no_file(tmp_path, capsys):
    Store.begin(tmp_path / "ratings.db", a_study(dialogues=2))
    print_report(tmp_path / "ratings.db")
    assert "Nobody has judged any of the 2 dialogues" in capsys.readouterr().out
    with pytest.raises(FileNotFoundError, match="no ratings at"):
        print_report(tmp_path / "other.db")
    with pytest.raises(OSError, match="cannot write"):
        print_report(tmp_path / "ratings.db", tmp_path / "nowhere" / "report.json")
