"""Dialogues to judge, without a simulation, and filled forms."""

import random
from dataclasses import replace

from crs_gym.evaluation.rating.forms import Judgement, Preference, aspects_of
from crs_gym.evaluation.rating.study import draw_study
from crs_gym.world import load_world
from experiments.words.talks import a_dialogue

WORLD = load_world("films")


def a_talk(number):
    """A dialogue with a user of its own, its words changed."""
    dialogue = replace(a_dialogue(random.Random(number), number, WORLD), user_id=number)
    words = [
        (replace(turn.recommender, text=f"Well. {turn.recommender.text}"), turn.user)
        for turn in dialogue.turns
    ]
    return dialogue.with_words(words)


def a_study(form="dialogue", dialogues=6, **settings):
    return draw_study([a_talk(number) for number in range(dialogues)], form, **settings)


def good(**but):
    """Yes to everything, but for what is named."""
    return {aspect.name: Judgement(True) for aspect in aspects_of("dialogue")} | but


def all_better(better, **but):
    """The same preference in every respect, but for what is named."""
    return {aspect.name: Preference(better) for aspect in aspects_of("pair")} | but
