import dataclasses

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra `data`)")

from crs_gym.acts import Choice, ItemQuery
from crs_gym.cli import main
from crs_gym.generation.check import check


def first(dialogue, **changes):
    """The dialogue with other fields of its first turn."""
    turn, *rest = dialogue.turns
    return {"turns": (dataclasses.replace(turn, **changes), *rest)}


def test_a_data_set_follows_from_its_settings(data):
    report = check(data, progress=False)
    assert not report.counts, report.problems
    assert report.dialogues == 20
    assert report.turns == sum(len(d.turns) for d in data)
    assert report.largest["EVOI"] <= 1e-3


def test_a_sample(data):
    assert check(data, sample=3, progress=False).dialogues == 3
    with pytest.raises(ValueError, match="at least one dialogue, not 0"):
        check(data, sample=0, progress=False)


def test_every_alteration_is_found(data, copied):
    dialogue = data[0]
    turn = dialogue.turns[0]
    # what the first dialogue begins with; the alterations below are made for it
    assert isinstance(turn.act, ItemQuery)
    assert isinstance(turn.response, Choice)
    other = next(item for item in turn.act.items if item != turn.response.item)
    unlike = tuple(item for item in range(600) if item not in turn.act.items)[:2]
    alterations = {
        "key": {"key": (1, 2)},
        "user": {"user_id": dialogue.user_id + 1},
        "embedding": {"embedding": dialogue.embedding + 0.01},
        "prior mean": {"prior_mean": dialogue.prior_mean[:-1]},
        "utility_best": {"utility_best": dialogue.utility_best + 0.1},
        "version": {"version": "0"},
        "temperature": {"temperature": dialogue.temperature + 0.1},
        "outcome": {"left": not dialogue.left},
        "reward": {"reward": dialogue.reward + 0.02},
        "end": {"turns": dialogue.turns[:-1]},
        "rows": {"number": 1},
        "shape": first(dialogue, believed=600),
        "regret": first(dialogue, regret=turn.regret + 0.01),
        "expected utility": first(dialogue, expected_utility=turn.expected_utility + 0.1),
        "utility": first(dialogue, utilities=(turn.utilities[0] + 0.1, *turn.utilities[1:])),
        "probability": first(dialogue, probability=turn.probability - 0.01),
        "EVOI": first(dialogue, evoi=turn.evoi + 0.01),
        "draws": first(dialogue, draws=(*turn.draws[:4], turn.draws[4] + 1e-3)),
        "response": first(dialogue, response=Choice(other)),
        "EVOI of the query asked": first(
            dialogue, act=ItemQuery(unlike), response=Choice(unlike[0])
        ),
        "template": first(
            dialogue, user=dataclasses.replace(turn.user, template="Hm.", text="Hm.")
        ),
        "words": first(dialogue, user=dataclasses.replace(turn.user, text="Hm.")),
    }
    for kind, changes in alterations.items():
        report = check(copied(**changes), sample=None, progress=False)
        assert report.counts[kind] >= 1, kind
        assert any(text.startswith(("dialogue 0", "dialogue 1")) for text in report.problems)


def test_the_command_fails_where_something_is_wrong(data, copied, capsys):
    main(["dataset", "check", str(data.folder)])
    assert "no problems" in capsys.readouterr().out
    other = copied(version="0")
    with pytest.raises(SystemExit):
        main(["dataset", "check", str(other.folder)])
    told = capsys.readouterr()
    assert "problems with version: 1" in told.out
    assert "does not follow from its settings" in told.err
