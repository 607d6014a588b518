import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream2llm_rag.sources.web._cut import cut
from stream2llm_rag.sources.web._outcome import PageSkippedError

TEXT = "One two. Three four five. " * 1000


def test_a_text_is_cut_behind_a_sentence() -> None:
    assert cut(TEXT, 30, len) == "One two. Three four five."
    assert cut(TEXT, 8, lambda text: len(text.split())) == "One two. Three four five. One two."


def test_a_short_text_stays_as_it_is() -> None:
    assert cut(TEXT, None, len) is TEXT
    assert cut(TEXT, len(TEXT), len) is TEXT
    assert cut("no sentence", 11, len) == "no sentence"


def test_what_cannot_be_cut_is_left_out() -> None:
    with pytest.raises(PageSkippedError, match="first sentence"):
        cut("a" * 100, 50, len)


def test_only_the_start_of_a_long_text_is_measured() -> None:
    longest = 0

    def measure(text: str) -> int:
        nonlocal longest
        longest = max(longest, len(text))
        return len(text) // 4

    assert len(cut(TEXT, 100, measure)) <= 403
    assert longest <= 800


@given(st.text(alphabet="ab. \n", max_size=200), st.integers(1, 60))
def test_the_limit_holds(text: str, limit: int) -> None:
    try:
        start = cut(text, limit, lambda part: len(part.split()))
    except PageSkippedError:
        return
    assert text.startswith(start)
    assert len(start.split()) <= limit
