"""The page about words is what its command writes."""

from experiments.words.page import PAGE, page


def test_the_page_is_not_stale():
    assert PAGE.read_text("utf-8") == page()
