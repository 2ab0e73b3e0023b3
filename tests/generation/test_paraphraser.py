"""The whole way: a model is built, trained for seconds, saved, loaded, and asked to rewrite."""

import random

import pytest

from crs_gym.generation.checks import check, check_response
from crs_gym.world import load_world
from experiments.words.phrasings import phrase, phrase_response
from experiments.words.talks import an_exchange

WORLD = load_world("films")


def test_what_the_paraphraser_learns_from_keeps_the_rules():
    rng = random.Random(5)
    refused = []
    for _ in range(800):
        act, response = an_exchange(rng, WORLD)
        said, answered = phrase(rng, act, WORLD), phrase_response(rng, response, act, WORLD)
        refused += [said] if check(said, act, WORLD) else []
        refused += [answered] if check_response(answered, response, act, WORLD) else []
    assert len(refused) <= 2, refused


@pytest.mark.slow
def test_a_model_of_some_seconds_rewrites_or_leaves_templates(tmp_path):
    pytest.importorskip("transformers")
    from experiments.words.paraphraser import Paraphraser

    settings = {"dialogues": 4, "width": 64, "layers": 1, "heads": 2, "retries": 0, "show": 0}
    paraphraser = Paraphraser(minutes=0.1, out=tmp_path, results=None, **settings)
    figures = paraphraser.run()
    assert figures["steps"] > 0
    kinds = figures["rates"].values()
    assert sum(kind["turns"] for kind in kinds) == figures["turns"] > 0
    assert sum(kind["model"] + kind["fallback"] for kind in kinds) == figures["turns"]
    again = Paraphraser(minutes=0, out=tmp_path, results=None, **settings).run()
    assert again["rates"] == figures["rates"]
