"""The example of a crawl runs as it stands: real pages of its own server, on the shipped reader."""

import re
import sys

import pytest

from tests.examples.programs import EXAMPLES, output_of

pytestmark = pytest.mark.engine


def test_web_crawl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLES / "web_crawl.py")])
    *landed, end, answer, figures, began, drafts, away = output_of(
        "web_crawl.py", capsys
    ).splitlines()
    assert sorted(re.findall(r"\d s: http://127\.0\.0\.1:\d+/(\w+) \(\1\)", "\n".join(landed))) == [
        "Belmar",
        "Osteria",
        "Quen",
        "Zorland",
    ]
    assert end.endswith(" s: the crawl has ended with 4 pages")
    assert answer.strip() == "The capital of Zorland is Mirapol."
    found = re.fullmatch(r"(\d+) of (\d+) prompt tokens were computed before that;", figures)
    assert found is not None
    early, total = map(int, found.groups())
    assert total / 2 < early < total
    assert began.startswith("the answer began ")
    left_out = {re.sub(r"http://[^/]+/", "", line) for line in (drafts, away)}
    assert "left out drafts: robots, robots.txt disallows it" in left_out
    (refused,) = (line for line in left_out if line.startswith("left out away: refused, "))
    assert "127.0.0.2, which is not public" in refused
