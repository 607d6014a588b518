"""One server, and so one engine, for all tests of the app."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.examples.fastapi_app.served import Gated, Served, answering_from

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def served() -> Iterator[Served]:
    served = Served()
    yield served
    served.stop()


@pytest.fixture
def gated() -> Iterator[Gated]:
    """What questions are answered from during the test."""
    source = Gated()
    with answering_from(source):
        yield source
    source.go_on.set()
