"""All measures at once, and their figures."""

from crs_gym.evaluation.judging import Figure, measure
from tests.evaluation.judging.dialogues import means

CHANGES = {"critique_rate": 0.5}


def test_texts_and_templates_that_are_the_same_measure_the_same(dialogues, small_world):
    some = dialogues[:40]
    text = measure(some, small_world, user_model=CHANGES)
    template = measure(some, small_world, templates=True, user_model=CHANGES)
    assert template.words == "template"
    assert text == template._replace(words="text")
    assert means(text.figures)["films named right"] == 1
    assert text.turns == sum(len(dialogue.turns) for dialogue in some)


def test_figures_of_few():
    assert Figure.of("x", [], []) == ("x", 0, None, None, None)
    assert Figure.of("x", [1, 0], [3, 3]) == ("x", 2, 0.5, None, None)
    figure = Figure.of("x", [1, 0, 1, 1], [0, 0, 1, 2])
    assert figure.low < 0.75 <= figure.high
