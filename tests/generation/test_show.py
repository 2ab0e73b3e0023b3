import io

import pytest
from rich.console import Console

from crs_gym.acts import Accept
from crs_gym.cli import main
from crs_gym.generation.records import Words
from crs_gym.generation.show import show_dialogue


def printed(dialogue, world, width=100, colour=False, **options):
    console = Console(
        file=io.StringIO(), width=width, highlight=False, force_terminal=colour, no_color=not colour
    )
    console.print(show_dialogue(dialogue, world, **options))
    return console.file.getvalue()


def test_words_acts_belief_and_regret_are_there(data):
    for dialogue in list(data)[:5]:
        text = printed(dialogue, data.world, width=400)
        for turn in dialogue.turns:
            assert turn.recommender.text in text
            assert turn.user.text in text
            assert f"EVOI {turn.evoi:.3f}" in text
            assert f"probability {turn.probability:.2f}" in text
            assert (
                f"believes in {data.world.label(turn.believed)}, regret {turn.regret:.2f}" in text
            )
        utilities = data.world.item_embeddings @ dialogue.embedding
        assert f"would like best: {data.world.label(int(utilities.argmax()))}" in text
        accepted = isinstance(dialogue.turns[-1].response, Accept)
        assert (f"accepted {data.world.label(dialogue.accepted)}" in text) == accepted


def test_it_fits_a_narrow_terminal(data):
    text = printed(data[1], data.world, width=80)
    assert max(map(len, text.splitlines())) <= 80


def test_colour_where_there_is_a_terminal(data):
    assert "\x1b[" in printed(data[0], data.world, colour=True)
    assert "\x1b[" not in printed(data[0], data.world)


def test_markup_in_words_is_printed_as_it_is(data):
    said = Words("plain", 0, "[bold]Heat[/bold] :smile: [/]", "model")
    dialogue = data[0].with_words([(said, said)] * len(data[0].turns))
    assert "[bold]Heat[/bold] :smile: [/]" in printed(dialogue, data.world, width=200)
    other = printed(dialogue, data.world, width=200, templates=True, acts=False)
    assert "plain" in other
    assert "EVOI" not in other


def test_the_command(data, capsys):
    main(["show", str(data.folder), "--dialogue", "13"])
    text = capsys.readouterr().out
    assert "Dialogue 13" in text
    assert "\x1b[" not in text
    with pytest.raises(SystemExit):
        main(["show", str(data.folder), "--dialogue", "20"])
    assert "no dialogue 20" in (told := capsys.readouterr().err)
    assert "there are 0 to 19" in told
