"""The rating page, driven in a browser."""

import shutil
from dataclasses import replace

import pytest

from crs_gym.evaluation.rating.forms import Judgement, Preference, aspects_of
from crs_gym.evaluation.rating.store import Store
from crs_gym.evaluation.rating.study import draw_study
from tests.evaluation.rating.talks import a_talk, good

pytest.importorskip("gradio", reason="gradio is not installed (the extra `ui`)")
pytest.importorskip("selenium", reason="selenium is not installed (the extra `dev`)")

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync "
    "--window-size=1280,2400"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not (CHROMIUM and DRIVER):
        pytest.skip("Chromium and its driver are not installed")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in OPTIONS.split():
        options.add_argument(option)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('chromium')}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def visit(browser, tmp_path):
    """(form) to a store whose page is open in the browser, begun by the judge Ada."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    from crs_gym.evaluation.rating.page import serve

    pages = []

    def start(form):
        talk = a_talk(3)
        turn = talk.turns[0]
        said = replace(turn.recommender, text="<script>document.title = 'gone'</script> Hello.")
        talk = replace(talk, turns=(replace(turn, recommender=said), *talk.turns[1:]))
        store = Store.begin(tmp_path / f"{form}.db", draw_study([talk], form))
        running, address = serve(store, port=0, block=False)
        pages.append(running)
        browser.get(address)
        wait = WebDriverWait(browser, 60)
        wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#name input, #name textarea"))
        browser.find_element(By.CSS_SELECTOR, "#name input, #name textarea").send_keys("Ada")
        click(browser, "#begin")
        wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, "#fluency input[type=radio]"))
        return store, wait

    yield start
    for running in pages:
        running.close()


def click(browser, selector, place=0):
    from selenium.webdriver.common.by import By

    element = browser.find_elements(By.CSS_SELECTOR, selector)[place]
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def shown(browser, selector):
    from selenium.webdriver.common.by import By

    return [e for e in browser.find_elements(By.CSS_SELECTOR, selector) if e.is_displayed()]


def test_one_dialogue(browser, visit):
    store, wait = visit("dialogue")
    for aspect in aspects_of("dialogue"):
        click(browser, f"#{aspect.name} input[type=radio]", int(aspect.name == "fluency"))
    wait.until(lambda b: shown(b, "#fluency-turns input"))
    click(browser, "#submit")
    wait.until(lambda b: "tick the turns" in b.page_source)
    assert store.ratings() == []
    click(browser, "#fluency-turns input", 1)
    browser.find_elements("css selector", "#fluency-feedback textarea")[0].send_keys("too <b>stiff")
    click(browser, "#submit")
    wait.until(lambda b: shown(b, "#end"))
    (rating,) = store.ratings()
    assert (rating.rater, rating.kind, rating.number) == ("Ada", "person", 3)
    assert rating.answers == good(fluency=Judgement(False, (2,), "too <b>stiff"))
    assert browser.title == "Rating conversations", "words of a dialogue are not run"


def test_one_pair(browser, visit):
    store, wait = visit("pair")
    source = browser.find_element("css selector", "#form").get_attribute("outerHTML").lower()
    assert "conversation a" in source
    for word in ("template", "rewritten", "fallback", "model"):
        assert word not in source.replace("grid-template", ""), "the page is blind"
    for aspect in aspects_of("pair"):
        click(browser, f"#{aspect.name} input[type=radio]", 2 if aspect.name == "overall" else 1)
    click(browser, "#submit")
    wait.until(lambda b: shown(b, "#end"))
    (rating,) = store.ratings()
    assert rating.answers["overall"] == Preference("second")
    assert rating.answers["progress"] == Preference("same")
