import re
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from mien.jobs.evaluation.outcome import Outcome
from mien.jobs.evaluation.page import render

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'"
FACTS = {
    "started": "2026-11-21T10:00:00+00:00",
    "config_hash": "abcdef123456",
    "git": "0123456789ab+",
    "command": "mien benchmark",
    "machine": {"processor": "Some CPU", "cores": 2, "gpus": ["Some GPU"]},
    "versions": {"python": "3.11"},
    "wall_s": 75.0,
}


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, Any]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def elements(html: str) -> list[tuple[str, dict[str, Any]]]:
    parser = Elements()
    parser.feed(html)
    return parser.found


def test_a_page_says_protocol_values_intervals_and_sources(outcome: Callable[..., Outcome]) -> None:
    html = render(outcome(), FACTS)
    for text in ("Chosen on dev.", "TelME", "Yun et al.", "2024", "0.6737", "anchor", "baseline"):
        assert text in html
    assert re.search(r"0\.\d{4} \[0\.\d{3}, 0\.\d{3}\]", html)
    for text in ("abcdef123456", "0123456789ab+", "Some CPU", "Some GPU", "took 1:15", "Groups"):
        assert text in html
    assert "Rows: neutral" in html


def test_kinds_that_are_no_result_are_marked_and_warned_of(outcome: Callable[..., Outcome]) -> None:
    assert 'role="note"' not in render(outcome(), FACTS)
    for kind, words in (("synthetic", "generated data"), ("oracle", "used the answers")):
        html = render(outcome(kinds={"words plain": kind}), FACTS)
        assert words in html
        assert f'<span class="tag {kind}">{kind}</span>' in html
        assert f"words plain · {kind}" in html  # in the plot


def test_the_best_system_is_marked_and_no_oracle_is(outcome: Callable[..., Outcome]) -> None:
    marked = re.search(r'<tr class="system best"><td><bdi>(.*?)</bdi>', render(outcome(), FACTS))
    assert marked
    assert marked[1] == "words plain"
    assert ' best">' not in render(outcome(kinds={"words plain": "oracle"}), FACTS)


def test_hostile_words_stay_words(outcome: Callable[..., Outcome]) -> None:
    html = render(outcome(HOSTILE), FACTS | {"command": HOSTILE, "git": HOSTILE + "\udcff"})
    tags = elements(html)
    assert not [tag for tag, _ in tags if tag == "script"]
    assert [attrs["src"][:22] for tag, attrs in tags if tag == "img"] == ["data:image/png;base64,"]
    assert not [name for _, attrs in tags for name in attrs if name.startswith("on")]
    html.encode()


def test_a_page_opens_no_connection_and_runs_nothing(outcome: Callable[..., Outcome]) -> None:
    tags = elements(render(outcome(), FACTS))
    (policy,) = (
        attrs["content"]
        for tag, attrs in tags
        if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy"
    )
    directives = dict([*part.split(), ""][:2] for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["script-src"] == ""  # none
    addresses = [v for _, a in tags for k, v in a.items() if k in ("src", "href")]
    assert all(address.startswith("data:") for address in addresses)


@pytest.mark.parametrize("facts", [{}, {"machine": None, "versions": None}])
def test_a_page_without_facts(outcome: Callable[..., Outcome], facts: dict[str, Any]) -> None:
    assert "weighted f1" in render(outcome(), facts)
