"""Which URLs are asked for, and which of them are the same."""

import httpx2

from stream2llm_rag.sources.web._outcome import PageSkippedError, SkipReason

__all__ = ["canonical", "checked"]

_DEFAULT_PORTS = {"http": 80, "https": 443}
# Set by whoever links to a page, and never part of what it shows.
_TRACKING_PREFIXES = ("utm_",)
_TRACKING = {"dclid", "fbclid", "gclid", "mc_cid", "mc_eid", "msclkid", "twclid", "yclid"}


def checked(url: str | httpx2.URL, ports: frozenset[int]) -> httpx2.URL:
    """Returns ``url`` without its fragment, if it is one to be asked for.

    Raises:
        PageSkippedError: It is not a plain http or https URL, or its port is not in ``ports``.
    """
    try:
        # A URL object made by joining is not checked as a whole.
        parsed = httpx2.URL(str(url).strip()).copy_with(fragment=None)
    except (httpx2.InvalidURL, ValueError) as error:
        raise PageSkippedError(SkipReason.REFUSED, f"not a URL: {error}") from error
    if parsed.scheme not in _DEFAULT_PORTS or not parsed.host:
        raise PageSkippedError(SkipReason.REFUSED, "not an http or https URL")
    if parsed.userinfo:
        raise PageSkippedError(SkipReason.REFUSED, "user names in URLs are not allowed")
    port = parsed.port or _DEFAULT_PORTS[parsed.scheme]
    if port not in ports:
        detail = f"port {port} is not allowed; see WebConfig.ports"
        raise PageSkippedError(SkipReason.REFUSED, detail)
    return parsed


def canonical(url: httpx2.URL) -> str:
    """Returns what URLs of one page have in common.

    They differ in the fragment, in the order of the query and in parameters that only say where a
    visitor came from. Anything else may show another page.
    """
    query = sorted(
        (key, value)
        for key, value in url.params.multi_items()
        if key not in _TRACKING and not key.startswith(_TRACKING_PREFIXES)
    )
    with_path = url.copy_with(raw_path=url.raw_path, fragment=None)
    return str(with_path.copy_with(params=query or None))
