"""A fake engine whose model says what a script says.

It stands in for a model that has learnt to call tools and to reason: none can be shipped. The
tokenizer, the chat template and vLLM's parsers are real, and the answer comes token by token.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Self

from stream2llm_engine import EngineConfig, SessionStats, StreamEngine, StreamOutput

__all__ = ["ScriptedEngine", "ScriptedSession"]

Script = Callable[[str], str]
"""From the prompt to the answer as the model writes it, marks included."""


class ScriptedSession:
    """Remembers what it was told; ``prompt`` is the text of the whole prompt."""

    def __init__(self, engine: ScriptedEngine, options: dict[str, Any]) -> None:
        self.options = options
        self.sampling_params: Any = None
        self.before_final = ""
        self.prompt = ""
        self._engine = engine
        self._ids: list[int] = []
        self._output_tokens = 0

    async def append(self, ids: Sequence[int]) -> None:
        self._ids += ids

    async def update(self, ids: Sequence[int]) -> None:
        self._ids = list(ids)

    async def finalize(
        self, ids: Sequence[int] = (), sampling_params: Any = None
    ) -> AsyncIterator[StreamOutput]:
        tokenizer = self._engine.tokenizer
        self.before_final = tokenizer.decode(self._ids)
        self._ids += ids
        self.prompt = tokenizer.decode(self._ids)
        self.sampling_params = sampling_params
        for index in range(sampling_params.n):
            for output in self._answer(index):
                self._output_tokens += len(output.token_ids)
                yield output

    def _answer(self, index: int) -> Iterator[StreamOutput]:
        tokenizer = self._engine.tokenizer
        ids = tokenizer.encode(self._engine.script(self.prompt), add_special_tokens=False)
        shown = ""
        for count in range(1, len(ids) + 1):
            text = tokenizer.decode(ids[:count])
            last = count == len(ids)
            if text.endswith("�") and not last:
                text = shown  # as vLLM does, within a character
            yield StreamOutput(
                index=index,
                text=text.removeprefix(shown),
                token_ids=(ids[count - 1],),
                finish_reason=self._engine.finish_reason if last else None,
            )
            shown = text

    async def abort(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    @property
    def stats(self) -> SessionStats:
        return SessionStats(
            prompt_tokens=len(self._ids), output_tokens=self._output_tokens, reused_tokens=1
        )


class ScriptedEngine(StreamEngine):
    """Sessions without a model.

    Attributes:
        finish_reason: Why answers end.
    """

    finish_reason = "stop"

    def __init__(self, tokenizer: Any, script: Script, **vllm: Any) -> None:
        super().__init__(EngineConfig(model="scripted", vllm=vllm))
        self.script = script
        self.sessions: list[ScriptedSession] = []
        self._tokenizer = tokenizer

    async def start(self) -> None:
        pass

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    async def open_session(self, token_ids: Sequence[int] = (), *_: Any, **options: Any) -> Any:
        assert not token_ids
        session = ScriptedSession(self, options)
        self.sessions.append(session)
        return session
