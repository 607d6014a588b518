from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stream2llm_rag import ContextSourceError
from stream2llm_rag.sources.web import WebConfig, WebSource
from tests.rag.sources.web.secure_site import SecureSite, serving_securely
from tests.rag.sources.web.site import PUBLIC, documents, resolve


@pytest.fixture
async def secure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SecureSite]:
    async with serving_securely(SecureSite(tmp_path, "site.test")) as site:
        monkeypatch.setenv("SSL_CERT_FILE", str(site.certificate))
        yield site


def source(site: SecureSite, host: str) -> WebSource:
    config = WebConfig.model_validate(
        {"ports": [site.port], "allowed_networks": [f"{PUBLIC}/32"], "retries": 0}
    )
    return WebSource([f"https://{host}:{site.port}/a"], config, resolve=resolve)


async def test_https_by_name_over_one_http2_connection(secure: SecureSite) -> None:
    (document,) = await documents(source(secure, "site.test"))
    assert document.metadata["title"] == "Secure"
    assert secure.names == ["site.test"]
    authority = f"site.test:{secure.port}"
    assert secure.asked == [(authority, "/robots.txt"), (authority, "/a")]
    assert secure.connections == 1


async def test_a_certificate_for_another_name_is_refused(secure: SecureSite) -> None:
    with pytest.raises(ContextSourceError, match="certificate verify failed"):
        await documents(source(secure, "other.test"))
    assert secure.asked == []


async def test_an_unknown_certificate_is_refused(
    secure: SecureSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ContextSourceError, match="certificate verify failed"):
        await documents(source(secure, "site.test"))
    assert secure.asked == []
