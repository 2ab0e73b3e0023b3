"""What is understood of the words of dialogues."""

from dataclasses import replace

import pytest

from crs_gym.evaluation.judging import Figure
from crs_gym.evaluation.judging.conduct import redundancy
from crs_gym.evaluation.judging.hearing import fidelity, hear
from tests.evaluation.judging.dialogues import means


def test_unclear_words_are_left_out_and_counted(dialogues, small_world):
    mumbling = [
        d.with_words(
            [
                (replace(t.recommender, text="Hm."), t.user if n else replace(t.user, text="Eh?"))
                for n, t in enumerate(d.turns)
            ]
        )
        for d in dialogues
    ]
    clear = hear(dialogues, small_world, templates=False)
    assert clear == hear(mumbling, small_world, templates=True)
    assert set(means(fidelity(dialogues, clear)).values()) == {1.0}
    heard = hear(mumbling, small_world, templates=False)
    turns = sum(len(dialogue.turns) for dialogue in dialogues)
    recommender, user = fidelity(mumbling, heard)
    assert recommender.mean == 0
    assert user.mean == pytest.approx(1 - len(dialogues) / turns)
    assert redundancy(mumbling, heard)[0] == Figure("redundant acts", 0)
    assert heard[0][0] == (None, None)
