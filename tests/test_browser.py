"""The report as a browser shows it: pictures there, players that really play, nothing asked of a network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .test_run import run  # noqa: F401 - the finished run of the other tests

EAGER = "for (const image of document.images) { image.loading = 'eager'; image.src = image.src; }"
WIDTHS = "return [...document.images].map(image => image.complete ? image.naturalWidth : 0)"
PLAY = """
const done = arguments[arguments.length - 1], player = document.querySelector("audio");
player.ontimeupdate = () => { if (player.currentTime > 0.2) done(player.currentTime); };
player.onerror = () => done(-1);
player.play().catch(error => done(String(error)));
"""


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    with chrome(tmp_path / "profile") as driver:
        yield driver


@contextmanager
def chrome(profile: Path) -> Iterator[Any]:
    """A browser that reaches this machine alone."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for flag in (
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-background-networking",
        "disable-component-update",
        "disable-sync",
        "mute-audio",
        "autoplay-policy=no-user-gesture-required",
        "host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    with webdriver.Chrome(options, service) as driver:
        driver.set_script_timeout(20)
        yield driver


@pytest.mark.chromium
def test_the_report_shows_its_pictures_and_plays_its_clips(run: Path, browser: Any):  # noqa: F811
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get((run / "report" / "report.html").as_uri())
    browser.execute_script(EAGER)
    wait = WebDriverWait(browser, 20)
    assert len(wait.until(lambda page: (w := page.execute_script(WIDTHS)) and min(w) > 0 and w)) >= 4
    assert browser.execute_async_script(PLAY) > 0.2
    assert len(browser.execute_script("return [...document.querySelectorAll('audio')]")) >= 5
    assert browser.get_log("browser") == []
    browser.set_window_size(420, 900)
    overflow = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert overflow <= 0
