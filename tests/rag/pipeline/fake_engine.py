"""A labelled fake: it records what a session is told and can fail, for error paths only.

What the engine does with tokens is tested with the real one.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from stream2llm_engine.outputs import SessionStats, StreamOutput


class FakeSession:
    def __init__(
        self,
        token_ids: Sequence[int],
        options: dict[str, Any],
        fail_on_append: Exception | None,
        prefilled: asyncio.Event | None,
    ) -> None:
        self.tokens = list(token_ids)
        self.options = options
        self.operations = 0
        self._prefilled = prefilled
        self.aborted = 0
        self.finalized = False
        self.fail_on_append = fail_on_append
        self.stats = SessionStats()

    async def append(self, token_ids: Sequence[int]) -> None:
        if self.fail_on_append is not None:
            raise self.fail_on_append
        self.operations += 1
        self.tokens += token_ids

    async def update(self, token_ids: Sequence[int]) -> None:
        self.operations += 1
        self.tokens = list(token_ids)

    async def wait_prefilled(self) -> None:
        if self._prefilled is not None:
            await self._prefilled.wait()
            self._prefilled.clear()

    def finalize(
        self, token_ids: Sequence[int] = (), sampling_params: Any = None
    ) -> AsyncGenerator[StreamOutput, None]:
        self.tokens += token_ids
        self.finalized = True
        return outputs()

    async def abort(self) -> None:
        self.aborted += 1


class FakeEngine:
    """Sessions without a model.

    Attributes:
        prefilled: Set by a test when what a session was sent counts as computed; None: at once.
    """

    def __init__(self, tokenizer: Any, fail_on_append: Exception | None = None) -> None:
        self.tokenizer = tokenizer
        self.fail_on_append = fail_on_append
        self.sessions: list[FakeSession] = []
        self.prompts: list[list[int]] = []
        self.tenants: list[str] = []
        self.prefilled: asyncio.Event | None = None
        self.max_prompt_tokens = 1000

    async def start(self) -> None:
        return None

    async def open_session(
        self,
        token_ids: Sequence[int] = (),
        sampling_params: Any = None,
        tenant: str = "default",
        deadline_s: float | None = None,
        *,
        priority: int = 0,
    ) -> FakeSession:
        options = {"tenant": tenant, "deadline_s": deadline_s, "priority": priority}
        session = FakeSession(token_ids, options, self.fail_on_append, self.prefilled)
        self.sessions.append(session)
        return session

    def generate(
        self, prompt: Any, sampling_params: Any, *, tenant: str = "default"
    ) -> AsyncGenerator[StreamOutput, None]:
        self.prompts.append(prompt["prompt_token_ids"])
        self.tenants.append(tenant)
        return outputs()


async def outputs() -> AsyncGenerator[StreamOutput, None]:
    yield StreamOutput(index=0, text="one", token_ids=(1,))
    yield StreamOutput(index=0, text="", token_ids=(2,))
    yield StreamOutput(index=0, text=" two", token_ids=(3,), finish_reason="stop")
