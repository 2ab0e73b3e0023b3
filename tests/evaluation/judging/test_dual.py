"""One language model as recommender and user."""

from dataclasses import replace

import pytest

from crs_gym.evaluation.judging import (
    ModelJudge,
    converse,
    evaluate,
    read_transcripts,
    retold,
    write_transcripts,
)
from crs_gym.world import DataError
from tests.evaluation.judging.test_reader import Scripted


def plays_recommender(request):
    return request.messages[0].content.startswith("You recommend")


def talk(cases, world, user="I am not sure.", recommender="Do you like comedies?", **settings):
    """What comes of a model that says the same all the time, or what a function says."""

    def reply(request):
        words = recommender if plays_recommender(request) else user
        return words(request) if callable(words) else words

    model = Scripted(reply)
    return converse(model, cases, world, progress=False, **settings), model


def test_goes_on_for_so_many_turns(cases, small_world):
    found, model = talk(cases[:3], small_world, turns=7)
    assert [len(transcript.turns) for transcript in found] == [7, 7, 7]
    assert not any(transcript.accepted or transcript.failure for transcript in found)
    assert found[0].turns[0] == ("Do you like comedies?", "I am not sure.")
    assert found[1].lines(1) == [
        ("Recommender", "Do you like comedies?"),
        ("User", "I am not sure."),
    ]
    assert len(model.asked) == 3 * 14
    assert len({(request.messages, request.seed) for request in model.asked}) == 3 * 14
    assert [t.user_id for t in found] == [case.user_id for case in cases[:3]]


@pytest.mark.parametrize("elicitation", [True, False])
def test_both_know_the_profile_and_only_one_way_of_asking_is_told_of(
    cases, small_world, elicitation
):
    (found,), model = talk(
        cases[:1], small_world, elicitation=elicitation, example="Recommender: Heat?", turns=2
    )
    systems = {request.messages[0].content for request in model.asked}
    assert len(systems) == 2
    for system in systems:
        assert found.profile == cases[0].profile.text(small_world)
        assert found.profile in system
        assert ("one of three things" in system) == elicitation
        assert ("Recommender: Heat?" in system) == elicitation
        assert "{" not in system
        assert ".The" not in system
    assert found.elicitation is elicitation


def test_each_side_sees_its_own_words_as_its_own(cases, small_world):
    _, model = talk(cases[:1], small_world, turns=2)
    recommender = [r for r in model.asked if plays_recommender(r)][1].messages
    user = [r for r in model.asked if not plays_recommender(r)][1].messages
    assert [m.role for m in recommender] == ["system", "user", "assistant", "user"]
    assert [m.role for m in user] == ["system", "user", "assistant", "user"]
    assert recommender[2].content == user[1].content == "Do you like comedies?"
    assert recommender[3].content == user[2].content == "I am not sure."


def test_ends_when_the_user_accepts(cases, small_world):
    film = small_world.label(3)

    def user(request):
        return f"Yes, I'd like to see {film}. ACCEPTED." if len(request.messages) > 4 else "No."

    found, _ = talk(cases[:2], small_world, user, recommender=f"How about {film}?")
    assert [len(transcript.turns) for transcript in found] == [3, 3]
    assert all(transcript.accepted for transcript in found)
    assert found[0].turns[-1][1] == f"Yes, I'd like to see {film}."


def test_words_of_acceptance_are_understood_without_the_mark(cases, small_world):
    film = small_world.label(3)
    (found,), _ = talk(
        cases[:1], small_world, f"Yes, I'll take {film}.", f"User: You might like\n {film}."
    )
    assert found.accepted
    assert found.turns == ((f"You might like {film}.", f"Yes, I'll take {film}."),)


def test_a_failure_ends_one_conversation_alone(cases, small_world):
    profile = cases[0].profile.text(small_world)

    def user(request):
        fails = profile in request.messages[0].content and len(request.messages) > 2
        return None if fails else "Hm."

    found, _ = talk(cases[:2], small_world, user, turns=3)
    assert [len(transcript.turns) for transcript in found] == [1, 3]
    assert [transcript.failure for transcript in found] == ["down", ""]
    (silent,), _ = talk(cases[:1], small_world, recommender=" ")
    assert silent.failure == "the model said nothing"
    assert silent.turns == ()
    with pytest.raises(ValueError, match="at least one turn"):
        talk(cases, small_world, turns=0)


def test_transcripts_come_back_from_a_file_and_are_judged(cases, small_world, tmp_path):
    found, _ = talk(cases[:6], small_world, turns=2)
    path = tmp_path / "dual.jsonl"
    write_transcripts(found, path)
    assert read_transcripts(path) == found
    questions = retold(cases, found[::-1], small_world)
    assert [case.pair for case in questions] == [case.pair for case in cases[5::-1]]
    judge = ModelJudge(Scripted(lambda request: "yes"), small_world, progress=False)
    rows = evaluate(judge, questions, turns=7)
    assert [row.n for row in rows] == [6, 6, 6]
    assert "Do you like comedies?" in [m.content for m in judge.chat(questions[0], 1)]
    with pytest.raises(ValueError, match="none of the dialogues"):
        retold(cases[:2], found, small_world)
    with pytest.raises(ValueError, match="another profile"):
        retold(cases, [replace(found[0], profile="The user likes all.")], small_world)


def test_whatever_is_written_is_read_again(cases, small_world, tmp_path):
    (found,), _ = talk(cases[:1], small_world, turns=1)
    odd = replace(found, turns=(("Amélie \ud800", "a\u2028b\x85c"),), failure="\n\x1e")
    write_transcripts([odd, found], tmp_path / "odd.jsonl")
    assert read_transcripts(tmp_path / "odd.jsonl") == [odd, found]


@pytest.mark.parametrize("line", ["{", "[]", '{"turns": [["a"]]}', '{"turns": []}'])
def test_broken_files_are_told(line, tmp_path):
    path = tmp_path / "dual.jsonl"
    path.write_text(line)
    with pytest.raises(DataError, match="line 1"):
        read_transcripts(path)
    with pytest.raises(FileNotFoundError):
        read_transcripts(tmp_path / "none.jsonl")
