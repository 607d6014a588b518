"""Trying a search again when the server was not there for a moment."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from qdrant_stream2llm._failures import kind_of

__all__ = ["Retry"]

T = TypeVar("T")
_logger = logging.getLogger(__name__)


class Retry(BaseModel):
    """How often and how patiently to try a search that the server did not take.

    Qdrant's clients bound the time of a request, but do not try again. Tried again is what cannot
    be reached (a refused or broken connection, 502, 503, gRPC ``UNAVAILABLE``) and what is refused
    for now (429 and ``RESOURCE_EXHAUSTED``, after the time that the server asks for). A search that
    ran into its timeout is not.

    Attributes:
        attempts: How often to try at most; 1 does not try again.
        first_wait_s: Upper bound of the first pause, which is random and doubles with every
            attempt.
        max_wait_s: Longest pause; a server that asks for a longer one is not tried again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(default=3, ge=1)
    first_wait_s: float = Field(default=0.1, ge=0)
    max_wait_s: float = Field(default=2.0, ge=0)

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Awaits ``function()``, again where that may help; the last error passes unchanged."""
        backoff = wait_random_exponential(multiplier=self.first_wait_s, max=self.max_wait_s)

        def wait(state: RetryCallState) -> float:
            return max(backoff(state), _asked_wait_s(_error(state)))

        retrying = AsyncRetrying(
            stop=stop_after_attempt(self.attempts),
            wait=wait,
            retry=retry_if_exception(self._may_help),
            before_sleep=_log,
            reraise=True,
        )

        async def attempt() -> T:
            return await function()

        return await retrying(attempt)

    def _may_help(self, error: BaseException) -> bool:
        return kind_of(error) == "unavailable" and _asked_wait_s(error) <= self.max_wait_s


def _log(state: RetryCallState) -> None:
    _logger.info("trying the search again in %.1f s: %s", state.upcoming_sleep, _error(state))


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _asked_wait_s(error: BaseException | None) -> float:
    return float(error.retry_after_s) if isinstance(error, ResourceExhaustedResponse) else 0.0
