import multiprocessing
import os
import signal
import sqlite3
import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crs_gym.evaluation.rating.assignments import sample
from crs_gym.evaluation.rating.forms import Judgement, NotFilled, aspects_of, check
from crs_gym.evaluation.rating.markup import conversation
from crs_gym.evaluation.rating.store import Store
from crs_gym.world import DataError
from tests.evaluation.rating.talks import a_study, a_talk, all_better, good


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@settings(deadline=None, max_examples=25)
@given(
    dialogues=st.integers(1, 7),
    raters=st.integers(1, 4),
    people=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_dialogues_fill_up_evenly_and_nobody_judges_one_twice(
    tmp_path_factory, dialogues, raters, people, seed
):
    study = a_study(dialogues=dialogues, raters=raters, seed=seed)
    store = Store.begin(tmp_path_factory.mktemp("db") / "r.db", study)
    judges = [store.rater(f"judge {n}") for n in range(people)]
    counts, seen = Counter(dict.fromkeys(range(dialogues), 0)), set()
    for _ in range(dialogues):
        for judge in judges:
            if what := store.next(judge):
                assert (judge, what.number) not in seen
                seen.add((judge, what.number))
                # nothing gets a further judge while this judge could take one with fewer
                open_to = [counts[n] for n in counts if (judge, n) not in seen]
                assert counts[what.number] <= min(open_to, default=raters)
                store.answer(what.id, good())
                counts[what.number] += 1
    assert set(counts.values()) == {min(raters, people)}
    assert all(store.next(judge) is None for judge in judges)


def test_the_same_seed_draws_the_same_and_one_dialogue_of_each_user():
    users = [5, 5, 7, 7, 7, 9]
    drawn = sample(users, None, 3)
    assert drawn == sample(users, None, 3)
    assert sorted(users[i] for i in drawn) == [5, 7, 9]
    assert len({tuple(sample(users, None, seed)) for seed in range(20)}) > 5


def test_judges_at_once_never_overshoot(tmp_path):
    store = Store.begin(tmp_path / "r.db", a_study(dialogues=4, raters=2))
    taken, lock = Counter(), threading.Lock()

    def work(n):
        judge = store.rater(f"judge {n}")
        while what := store.next(judge):
            with lock:
                taken[what.number] += 1
            store.answer(what.id, good())

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(taken.values()) == {2}
    assert len(taken) == 4


def test_an_abandoned_page_goes_back_and_late_answers_are_surplus(tmp_path):
    clock = Clock()
    study = a_study(dialogues=1, raters=1)
    store = Store.begin(tmp_path / "r.db", study, hold=60.0, clock=clock)
    slow, quick = store.rater("slow"), store.rater("quick")
    held = store.next(slow)
    assert store.next(quick) is None
    assert store.next(slow).id == held.id, "who comes back finds the page again"
    clock.now += 61
    other = store.next(quick)
    assert other.number == held.number
    store.answer(other.id, good())
    store.answer(held.id, good())
    assert [(r.rater, r.surplus) for r in store.ratings()] == [("quick", False), ("slow", True)]


def test_answers_are_only_added(tmp_path):
    store = Store.begin(tmp_path / "r.db", a_study())
    judge = store.rater("me")
    what = store.next(judge)
    store.answer(what.id, good())
    wrong = good(fluency=Judgement(False, (1,), "stiff"))
    store.answer(store.previous(judge).id, wrong)
    (rating,) = store.ratings()
    assert rating.answers == wrong
    with sqlite3.connect(tmp_path / "r.db") as db:
        assert db.execute("SELECT count(*) FROM answer").fetchone() == (2,)
        for change in ("DELETE FROM answer", "UPDATE answer SET content = ''"):
            with pytest.raises(sqlite3.IntegrityError, match="answers are never"):
                db.execute(change)


def _answer_and_die(path):
    store = Store.open(path)
    what = store.next(store.rater("me"))
    store.answer(what.id, good())
    os.kill(os.getpid(), signal.SIGKILL)


def test_an_answer_survives_the_process(tmp_path):
    Store.begin(tmp_path / "r.db", a_study())
    process = multiprocessing.get_context("spawn").Process(
        target=_answer_and_die, args=(tmp_path / "r.db",)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(Store.open(tmp_path / "r.db").ratings()) == 1


def test_files_that_are_not_ours(tmp_path):
    with pytest.raises(FileNotFoundError, match="no ratings at"):
        Store.open(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("hello " * 1000)
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE t (x)")
    Store.begin(tmp_path / "newer.db", a_study())
    with sqlite3.connect(tmp_path / "newer.db") as db:
        db.execute("PRAGMA user_version = 9")
    for name, message in (
        ("text", "not a whole file of ratings"),
        ("other", "a database of another program"),
        ("newer", "ratings of format 9, this version reads 1"),
    ):
        with pytest.raises(DataError, match=message):
            Store.open(tmp_path / f"{name}.db")
    Store.begin(tmp_path / "mine.db", a_study())
    with pytest.raises(DataError, match="a study with raters 3, not 2; name another file"):
        Store.begin(tmp_path / "mine.db", a_study(raters=2))


def test_names_of_judges(tmp_path):
    store = Store.begin(tmp_path / "r.db", a_study())
    assert store.rater(" Ada  Lovelace ") == store.rater("Ada Lovelace")
    assert store.rater("Ada Lovelace", "model") != store.rater("Ada Lovelace")
    for name in ("", "  ", "x" * 81, "half \ud800"):
        with pytest.raises(ValueError, match="1 to 80 characters"):
            store.rater(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fluency": Judgement(False)}, "after a No, tick the turns"),
        ({"fluency": Judgement(False, (9,))}, "there is no turn 9; there are 1 to 4"),
        ({"fluency": Judgement(False, (2, 2))}, "named twice"),
        ({"fluency": Judgement(True, (1,))}, "belong to a No"),
        ({"fluency": Judgement(False, (1,), "x" * 4001)}, "over 4000 characters"),
        ({"fluency": Judgement(False, (1,), "\ud800")}, "half a character"),
        ({"charm": Judgement(True)}, "does not ask about charm"),
    ],
)
def test_forms_that_are_not_filled_in(change, message):
    check(good(), "dialogue", 4)
    with pytest.raises(NotFilled, match=message):
        check(good(**change), "dialogue", 4)


def test_a_form_of_the_other_kind_and_an_empty_one():
    with pytest.raises(NotFilled, match="answer for the other form"):
        check(all_better("same") | {"progress": Judgement(True)}, "pair", 4)
    with pytest.raises(NotFilled, match="not answered yet: Progress"):
        check({}, "dialogue", 4)
    assert [a.name for a in aspects_of("pair")][:-1] == [a.name for a in aspects_of("dialogue")]


def test_sides_are_drawn_and_follow_the_seed(tmp_path):
    store = Store.begin(tmp_path / "r.db", a_study("pair", dialogues=6, raters=3))
    firsts = []
    for n in range(3):
        judge = store.rater(f"judge {n}")
        while what := store.next(judge):
            rewritten = tuple(a_talk(what.number).lines())
            assert {what.first, what.second} == {
                rewritten, tuple(a_talk(what.number).lines(templates=True))
            }  # fmt: skip
            firsts.append(what.first == rewritten)
            store.answer(what.id, all_better("first"))
    assert len(firsts) == 18
    assert 4 <= sum(firsts) <= 14, "neither side is always the first"
    assert [r.rewritten_first for r in store.ratings()] == firsts


def test_words_are_text_whatever_they_look_like():
    lines = (("Recommender", "<script>alert(1)</script> ${x} `{{y}}`"), ("User", "**no** &amp;"))
    html = conversation(lines, "<b>")
    for raw in ("<script", "${", "`", "{{", "<b>", " &amp;</div>"):
        assert raw not in html
    assert "&lt;script&gt;" in html
    assert "&amp;amp;" in html
