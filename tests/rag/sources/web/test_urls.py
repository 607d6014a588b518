import httpx2
import pytest

from stream2llm_rag.sources.web._urls import canonical, checked

PORTS = frozenset({80, 443})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a.test", "http://a.test/"),
        ("http://A.test/x", "http://a.test:80/x"),
        ("https://a.test/x", "https://a.test:443/x#part"),
        ("http://a.test/?b=2&a=1", "http://a.test/?a=1&b=2"),
        ("http://a.test/?a=1&utm_source=x&utm_medium=y", "http://a.test/?a=1"),
        ("http://a.test/?gclid=1", "http://a.test/"),
        ("http://a.test/é", "http://a.test/%C3%A9"),
        ("http://bücher.test/", "http://xn--bcher-kva.test/"),
    ],
)
def test_urls_of_one_page(one: str, other: str) -> None:
    assert canonical(checked(one, PORTS)) == canonical(checked(other, PORTS))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a.test/", "https://a.test/"),
        ("http://a.test/x", "http://a.test/X"),
        ("http://a.test/x", "http://a.test/x/"),
        ("http://a.test/?id=1", "http://a.test/?id=2"),
        ("http://a.test/?keyword=a", "http://a.test/?keyword=b"),
        ("http://a.test/?a=", "http://a.test/"),
        ("http://a.test/?a=1&a=2", "http://a.test/?a=1"),
        ("http://a.test/", "http://www.a.test/"),
    ],
)
def test_urls_of_two_pages(one: str, other: str) -> None:
    assert canonical(httpx2.URL(one)) != canonical(httpx2.URL(other))


def test_the_url_that_is_asked_for_keeps_its_query() -> None:
    assert str(checked(" http://a.test/?utm_source=x&b=1#c ", PORTS)) == (
        "http://a.test/?utm_source=x&b=1"
    )
