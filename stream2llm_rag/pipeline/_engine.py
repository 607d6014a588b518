"""What the pipeline needs of an engine; ``stream2llm_engine.StreamEngine`` provides it."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from stream2llm_engine.outputs import SessionStats, StreamOutput

__all__ = ["Engine", "Session"]


class Session(Protocol):
    """A prompt that is still open."""

    @property
    def stats(self) -> SessionStats:
        """Token counts of the session."""
        ...

    async def append(self, token_ids: Sequence[int]) -> None:
        """Extends the prompt."""
        ...

    async def update(self, token_ids: Sequence[int]) -> None:
        """Replaces the whole prompt."""
        ...

    async def wait_prefilled(self) -> None:
        """Waits until everything sent so far is computed."""
        ...

    def finalize(
        self, token_ids: Sequence[int] = (), sampling_params: Any = None
    ) -> AsyncIterator[StreamOutput]:
        """Sends the last tokens and starts decoding."""
        ...

    async def abort(self) -> None:
        """Ends the session in any state."""
        ...


class Engine(Protocol):
    """Opens sessions and serves ordinary requests."""

    @property
    def tokenizer(self) -> Any:
        """The model's Hugging Face tokenizer."""
        ...

    @property
    def max_prompt_tokens(self) -> int:
        """Longest prompt the engine takes, with one token left for the answer."""
        ...

    async def start(self) -> Any:
        """Loads the model; does nothing when it is loaded."""
        ...

    async def open_session(
        self,
        token_ids: Sequence[int] = (),
        sampling_params: Any = None,
        tenant: str = "default",
        deadline_s: float | None = None,
        *,
        priority: int = 0,
    ) -> Session:
        """Opens a session whose prompt starts with ``token_ids``."""
        ...

    def generate(
        self, prompt: Any, sampling_params: Any, *, tenant: str = "default"
    ) -> AsyncIterator[StreamOutput]:
        """Serves a request whose prompt is complete."""
        ...
