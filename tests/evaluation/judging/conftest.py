import pytest

from crs_gym.evaluation.judging import make_cases
from tests.evaluation.judging.dialogues import simulate


@pytest.fixture(scope="session")
def dialogues(small_world):
    """ICER with users of the small world; item and attribute queries, critiques, acceptances."""
    return simulate(
        small_world, 256, split="evaluation", max_turns=5, user_model={"critique_rate": 0.5}
    )


@pytest.fixture(scope="session")
def cases(dialogues, small_world):
    return make_cases(dialogues, small_world)
