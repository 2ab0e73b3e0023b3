import json

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed (the extra `data`)")

from crs_gym.acts import (
    Accept,
    Answer,
    AttributeQuery,
    Choice,
    Critique,
    ItemQuery,
    Leave,
    Recommendation,
    Reject,
)
from crs_gym.generation.export import _agent, _user, export, trajectory


def test_acts_take_the_shape_of_the_paper(plane_world):
    def named(i):
        return {"id": i, "name": plane_world.label(i)}

    def attr(g, direction):
        return {"id": g, "direction": direction, "name": plane_world.attributes[g].name}

    # ICER, appendix A.2
    about = AttributeQuery(5, 2, 1)
    assert _agent(about, plane_world) == {
        "query": {"mode": "ATTR", "slate": {"items": [named(5)]}, "attr": attr(2, 1)}
    }
    assert _user(Answer(2, -1), about, plane_world) == {
        "elicit_resp": {"mode": "ATTR", "attr_resp": 0}
    }
    offer = Recommendation((3, 4))
    assert _agent(offer, plane_world) == {"slate": {"items": [named(3), named(4)]}}
    assert _user(Critique(4, 1, -1), offer, plane_world) == {
        "rec_resp": {"mode": "REJECT_FEEDBACK", "attr": attr(1, -1), "item_idx": 1}
    }
    assert _user(Accept(4), offer, plane_world) == {"rec_resp": {"mode": "ACCEPT", "item_idx": 1}}
    assert _user(Reject(), offer, plane_world) == {"rec_resp": {"mode": "REJECT"}}
    query = ItemQuery((7, 8))
    assert _agent(query, plane_world) == {
        "query": {"mode": "ITEM", "slate": {"items": [named(7), named(8)]}}
    }
    assert _user(Choice(7), query, plane_world) == {"elicit_resp": {"mode": "ITEM", "item_idx": 0}}
    assert _user(Leave(), query, plane_world) == {"leave": {}}


def test_an_export_that_fails_leaves_the_old_file(data, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("old")

    def broken():
        yield data[0]
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        export(broken(), data.world, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_one_line_a_dialogue(data, tmp_path):
    assert export(data, data.world, tmp_path / "x.jsonl") == 20
    lines = (tmp_path / "x.jsonl").read_text().splitlines()
    for line, dialogue in zip(lines, data, strict=True):
        assert json.loads(line) == json.loads(json.dumps(trajectory(dialogue, data.world)))
        assert len(json.loads(line)["turns"]) == len(dialogue.turns)
