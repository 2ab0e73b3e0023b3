import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
from crs_gym.generation.records import Dialogue, Exchange, Words
from crs_gym.generation.schema import decode, encode
from crs_gym.world import DataError

floats = st.floats(-1e6, 1e6, width=32)
words = st.builds(
    Words,
    template=st.text(max_size=20),
    variant=st.integers(0, 3),
    text=st.text(max_size=20),
    source=st.sampled_from(["template", "model", "fallback"]),
)
index = st.integers(0, 2**31 - 1)
direction = st.sampled_from([1, -1])
slates = st.lists(index, min_size=1, max_size=4, unique=True).map(tuple)


@st.composite
def pairs(draw):
    act = draw(
        st.one_of(
            st.builds(Recommendation, st.one_of(slates, st.just(()))),
            st.builds(ItemQuery, slates),
            st.builds(AttributeQuery, index, index, direction),
        )
    )
    options = [st.just(Leave())]
    if isinstance(act, AttributeQuery):
        options.append(st.builds(Answer, st.just(act.attribute), direction))
    elif isinstance(act, ItemQuery):
        options.append(st.builds(Choice, st.sampled_from(act.items)))
    else:
        options.append(st.just(Reject()))
        if act.items:
            item = st.sampled_from(act.items)
            options += [st.builds(Accept, item), st.builds(Critique, item, index, direction)]
    return act, draw(st.one_of(options))


@st.composite
def exchanges(draw):
    act, response = draw(pairs())
    items = getattr(act, "items", (0,))
    return Exchange(
        act,
        response,
        draw(words),
        draw(words),
        draws=tuple(draw(st.lists(floats, min_size=5, max_size=5))),
        probability=draw(floats),
        utilities=tuple(draw(st.lists(floats, min_size=len(items), max_size=len(items)))),
        evoi=draw(floats),
        expected_utility=draw(floats),
        believed=draw(index),
        regret=draw(floats),
    )


vectors = st.lists(floats, min_size=3, max_size=3).map(lambda x: np.array(x, np.float32))
dialogues = st.builds(
    Dialogue,
    number=st.integers(0, 2**40),
    user_id=index,
    embedding=vectors,
    prior_mean=vectors,
    prior_std=vectors,
    **dict.fromkeys(
        "temperature patience critique_rate utility_mean utility_best utility_null reward".split(),
        floats,
    ),
    accepted=st.integers(-1, 2**31 - 1),
    left=st.booleans(),
    key=st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    turns=st.lists(exchanges(), max_size=3).map(tuple),
    version=st.text(max_size=5),
    world=st.text(max_size=5),
)


@settings(deadline=None)
@given(rows=st.lists(dialogues, min_size=1, max_size=3))
def test_rows_come_back_as_they_were(rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "x.parquet"
    payload = encode(rows)
    assert payload == encode(rows)
    path.write_bytes(payload)
    for row, back in zip(rows, decode(path), strict=True):
        for name, value in vars(row).items():
            if isinstance(value, np.ndarray):
                np.testing.assert_array_equal(value, getattr(back, name))
            else:
                assert value == getattr(back, name), name


def test_broken_files_are_named(tmp_path, data):
    payload = data.path(0).read_bytes()
    path = tmp_path / "broken.parquet"
    for broken in (b"", b"PAR1", payload[: len(payload) // 2], payload[:-10]):
        path.write_bytes(broken)
        with pytest.raises(DataError, match="broken.parquet is not a whole Parquet file"):
            list(decode(path))


def test_a_file_of_another_kind_is_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="its columns are a"):
        list(decode(tmp_path / "a.parquet"))


def test_an_act_that_is_none_is_refused(tmp_path, data):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from crs_gym.generation.schema import SCHEMA

    rows = pq.read_table(data.path(0)).to_pylist()
    rows[0]["turns"][0]["recommender"]["act"] = "sing"
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="SING"):
        list(decode(tmp_path / "a.parquet"))


def test_words_can_be_exchanged(data):
    dialogue = data[0]
    new = Words("a", 0, "b", "model")
    other = dialogue.with_words([(new, new)] * len(dialogue.turns))
    assert other.transcript(1) == "Recommender: b\nUser: b"
    assert other.transcript(1, templates=True) == "Recommender: a\nUser: a"
    assert [t.act for t in other.turns] == [t.act for t in dialogue.turns]
    with pytest.raises(ValueError, match="shorter|longer"):
        dialogue.with_words([])
