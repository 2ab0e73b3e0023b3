"""Judging dialogues: what they tell of a user's taste, and measured qualities (ICER, section 5)."""

from crs_gym.evaluation.judging.automatic import Judge, Row, Verdicts, evaluate, ndcg, score
from crs_gym.evaluation.judging.belief import BeliefJudge
from crs_gym.evaluation.judging.dual import (
    Transcript,
    converse,
    read_transcripts,
    retold,
    write_transcripts,
)
from crs_gym.evaluation.judging.figures import Figure
from crs_gym.evaluation.judging.measures import Measures, measure
from crs_gym.evaluation.judging.pairs import Case, Pair, make_cases, make_pair
from crs_gym.evaluation.judging.profiles import Profile, profiles
from crs_gym.evaluation.judging.reader import ModelJudge

__all__ = [
    "BeliefJudge",
    "Case",
    "Figure",
    "Judge",
    "Measures",
    "ModelJudge",
    "Pair",
    "Profile",
    "Row",
    "Transcript",
    "Verdicts",
    "converse",
    "evaluate",
    "make_cases",
    "make_pair",
    "measure",
    "ndcg",
    "profiles",
    "read_transcripts",
    "retold",
    "score",
    "write_transcripts",
]
