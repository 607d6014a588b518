"""A fake engine with the real one's session interface, and retrievers that tests can steer.

The fake computes nothing. It writes down every operation as text, so that a test can say what the
engine was told and when.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import jinja2
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.documents import Document
from pydantic import ConfigDict

from langchain_stream2llm import StreamingRetriever
from stream2llm_engine import EngineConfig, SessionStats, StreamEngine, StreamOutput

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PATIENCE_S = 20


class CharTokenizer:
    """One token per character, so that operations read as text."""

    chat_template: str | None = CHAT_TEMPLATE
    bos_token: str | None = None
    bos_token_id: int | None = None
    added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012 - the shape of a real one

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        del add_special_tokens
        return [ord(character) for character in text]

    def apply_chat_template(
        self, conversation: Sequence[Any], *, tokenize: bool, **kwargs: Any
    ) -> str:
        assert not tokenize
        template: Any = kwargs.pop("chat_template", None) or self.chat_template
        environment = jinja2.Environment(autoescape=False)
        return environment.from_string(template).render(messages=conversation, **kwargs)


class FakeSession:
    """Writes operations down and answers with the engine's reply, word by word."""

    def __init__(self, engine: FakeEngine, tenant: str) -> None:
        self.tenant = tenant
        self.operations: list[tuple[str, str]] = []
        self.sampling_params: Any = None
        self.state = "open"
        self._engine = engine
        self._prompt = ""
        self._before_final = 0
        self._invalidated = 0
        self._words = 0

    async def append(self, ids: Sequence[int]) -> None:
        self._note("append", ids)
        self._prompt += _text(ids)

    async def update(self, ids: Sequence[int]) -> None:
        self._note("update", ids)
        self._invalidated += len(self._prompt)
        self._prompt = _text(ids)

    async def finalize(
        self, ids: Sequence[int] = (), sampling_params: Any = None
    ) -> AsyncIterator[StreamOutput]:
        self._note("finalize", ids)
        self._before_final = len(self._prompt)
        self._prompt += _text(ids)
        self.sampling_params = sampling_params
        self.state = "finalized"
        words = self._engine.reply(self._prompt).split(" ")
        for i, word in enumerate(words):
            await self._engine.decoding()
            self._words += 1
            last = i == len(words) - 1
            if last:
                self.state = "finished"
            yield StreamOutput(
                index=0,
                text=word if last else word + " ",
                token_ids=(i,),
                finish_reason="stop" if last else None,
            )

    async def abort(self) -> None:
        if self.state not in ("finished", "aborted"):
            self.state = "aborted"
            self._note("abort", ())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.abort()

    @property
    def stats(self) -> SessionStats:
        return SessionStats(
            prompt_tokens=len(self._prompt),
            prefilled_before_final=self._before_final,
            invalidated_tokens=self._invalidated,
            reused_tokens=3,
            output_tokens=self._words,
            ttft_s=0.5,
            time_to_first_token_s=1.5,
        )

    def _note(self, kind: str, ids: Sequence[int]) -> None:
        self.operations.append((kind, _text(ids)))
        self._engine.noticed()


class FakeEngine(StreamEngine):
    """Sessions without a model."""

    def __init__(self, reply: Callable[[str], str] = lambda prompt: f"saw {prompt}") -> None:
        super().__init__(EngineConfig(model="fake"))
        self.reply = reply
        self.sessions: list[FakeSession] = []
        self.fail_open: Exception | None = None
        self.decoding: Any = _at_once
        self._changed = threading.Condition()

    async def start(self) -> None:
        pass

    @property
    def tokenizer(self) -> CharTokenizer:
        return CharTokenizer()

    async def open_session(
        self, token_ids: Sequence[int] = (), *_: Any, tenant: str = "default", **__: Any
    ) -> Any:
        if self.fail_open is not None:
            raise self.fail_open
        assert not token_ids
        session = FakeSession(self, tenant)
        self.sessions.append(session)
        return session

    @property
    def operations(self) -> list[tuple[str, str]]:
        """The operations of the only session."""
        (session,) = self.sessions
        return session.operations

    def noticed(self) -> None:
        with self._changed:
            self._changed.notify_all()

    async def until_sent(self, text: str) -> None:
        """Waits until a session was told ``text``; fails if that does not come."""
        assert await asyncio.to_thread(self._wait_for, text), f"{text!r} was never sent"

    def _wait_for(self, text: str) -> bool:
        with self._changed:
            return self._changed.wait_for(
                lambda: any(
                    text in sent for session in self.sessions for _, sent in session.operations
                ),
                PATIENCE_S,
            )


class ScriptedRetriever(StreamingRetriever):
    """Yields the given deltas; waits before each until the engine has got the one before.

    A chain that does not overlap retrieval and prefill therefore fails.

    Attributes:
        deltas: What to yield; an exception is raised.
        engine: Whose sessions to watch; None does not wait.
        closed: How many retrievals were left, whether at the end or not.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    deltas: list[Any]
    engine: FakeEngine | None = None
    closed: list[str] = []  # noqa: RUF012 - pydantic copies it
    emitted: list[int] = []  # noqa: RUF012 - pydantic copies it

    async def _astream_documents(
        self, query: str, *, run_manager: Any, k: int | None = None
    ) -> Any:
        try:
            for i, delta in enumerate(self.deltas):
                if isinstance(delta, Exception):
                    raise delta
                if isinstance(delta, asyncio.Event):
                    await delta.wait()
                    continue
                self.emitted.append(i)
                yield delta if k is None else delta[:k]
                if self.engine is not None and delta:
                    await self.engine.until_sent(delta[-1].page_content)
        finally:
            self.closed.append(query)


class Recorder(AsyncCallbackHandler):
    """Names of the callbacks that came."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.documents: list[Document] = []
        self.custom: list[tuple[str, Any]] = []

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.names)

    async def on_chain_start(self, *_: Any, **__: Any) -> None:
        self.names.append("chain_start")

    async def on_chain_end(self, *_: Any, **__: Any) -> None:
        self.names.append("chain_end")

    async def on_chain_error(self, *_: Any, **__: Any) -> None:
        self.names.append("chain_error")

    async def on_chat_model_start(self, *_: Any, **__: Any) -> None:
        self.names.append("model_start")

    async def on_llm_new_token(self, *_: Any, **__: Any) -> None:
        self.names.append("token")

    async def on_llm_end(self, *_: Any, **__: Any) -> None:
        self.names.append("model_end")

    async def on_llm_error(self, *_: Any, **__: Any) -> None:
        self.names.append("model_error")

    async def on_retriever_start(self, *_: Any, **__: Any) -> None:
        self.names.append("retriever_start")

    async def on_retriever_end(self, documents: Sequence[Document], **_: Any) -> None:
        self.names.append("retriever_end")
        self.documents = list(documents)

    async def on_retriever_error(self, *_: Any, **__: Any) -> None:
        self.names.append("retriever_error")

    async def on_custom_event(self, name: str, data: Any, **_: Any) -> None:
        self.custom.append((name, data))


def docs(*texts: str, **ids: str) -> list[Document]:
    """Documents without ids, then documents whose keyword is their id."""
    return [Document(page_content=text) for text in texts] + [
        Document(id=identity, page_content=text) for identity, text in ids.items()
    ]


def eventually(condition: Callable[[], bool]) -> None:
    """Waits until ``condition`` holds; fails if it never does."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _text(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


async def _at_once() -> None:
    await asyncio.sleep(0)
