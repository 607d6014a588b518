"""A fake engine with the real one's session interface, retrievers that tests can steer, observers.

The fake computes nothing. It writes down every operation as text, so that a test can say what the
engine was told and when, and it answers what a test wants: calls of tools, say, which no model that
can be shipped has learnt to write.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, Self

import jinja2
from llama_index.core.callbacks import CallbackManager
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index_instrumentation.event_handlers import BaseEventHandler

from llama_index.llms.stream2llm import StreamingRetriever
from stream2llm_engine import (
    EngineConfig,
    EngineDeadError,
    PromptTooLongError,
    SessionStats,
    StreamEngine,
    StreamOutput,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from llama_index.core.callbacks.schema import CBEventType
    from llama_index_instrumentation.base import BaseEvent

CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
PATIENCE_S = 20


class CharTokenizer:
    """One token per character, so that operations read as text; must not block an event loop."""

    chat_template = CHAT_TEMPLATE
    bos_token = "^"
    bos_token_id = ord("^")
    added_tokens_decoder: dict[int, Any] = {}  # noqa: RUF012 - the shape of a real one

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        assert asyncio._get_running_loop() is None, "tokenised on an event loop"
        return [ord(character) for character in ("^" if add_special_tokens else "") + text]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(map(chr, ids))

    def apply_chat_template(
        self, conversation: Sequence[Any], *, tokenize: bool, **kwargs: Any
    ) -> str:
        assert not tokenize
        environment = jinja2.Environment(autoescape=False)
        template = kwargs.pop("chat_template", CHAT_TEMPLATE)
        return environment.from_string(template).render(messages=conversation, **kwargs)


class FakeSession:
    """Writes operations down and answers with the engine's reply, piece by piece."""

    def __init__(self, engine: FakeEngine, options: dict[str, Any]) -> None:
        self.options = options
        self.operations: list[tuple[str, str]] = []
        self.prompt_token_ids: list[int] = []
        self.sampling_params: Any = None
        self.finished = False
        self._engine = engine
        self._before_final = 0
        self._output_tokens = 0

    async def append(self, ids: Sequence[int]) -> None:
        assert ids
        self._note("append", [*self.prompt_token_ids, *ids], ids)

    async def update(self, ids: Sequence[int]) -> None:
        assert ids
        self._note("update", list(ids), ids)

    def finalize(
        self, ids: Sequence[int] = (), sampling_params: Any = None
    ) -> AsyncGenerator[StreamOutput, None]:
        self._before_final = len(self.prompt_token_ids)
        self._note("finalize", [*self.prompt_token_ids, *ids], ids)
        self.sampling_params = sampling_params
        return self._answer()

    async def _answer(self) -> AsyncGenerator[StreamOutput, None]:
        pieces = self._engine.pieces(self.prompt)
        for i, (text, token_ids) in enumerate(pieces):
            last = i == len(pieces) - 1
            await self._engine.decoding.wait()
            self._output_tokens += len(token_ids)
            self.finished = last
            yield StreamOutput(
                index=0,
                text=text,
                token_ids=token_ids,
                finish_reason=self._engine.finish_reason if last else None,
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if not self.finished:
            self._note("abort", self.prompt_token_ids, ())

    @property
    def prompt(self) -> str:
        return str(self._engine.tokenizer.decode(self.prompt_token_ids))

    @property
    def stats(self) -> SessionStats:
        return SessionStats(
            prompt_tokens=len(self.prompt_token_ids),
            prefilled_before_final=self._before_final,
            output_tokens=self._output_tokens,
        )

    def _note(self, kind: str, prompt: list[int], ids: Sequence[int]) -> None:
        if len(prompt) > self._engine.max_prompt_tokens:
            raise PromptTooLongError("shorten it")
        self.prompt_token_ids = prompt
        self.operations.append((kind, self._engine.tokenizer.decode(ids)))
        self._engine.noticed()


class Gate:
    """An event for any loop; open unless a test closes it."""

    def __init__(self) -> None:
        self.open = True

    async def wait(self) -> None:
        await asyncio.sleep(0)
        while not self.open:  # noqa: ASYNC110 - an event belongs to one loop
            await asyncio.sleep(0.005)


class FakeEngine(StreamEngine):
    """Sessions without a model.

    Attributes:
        reply: From the prompt to the answer.
        finish_reason: Why answers end.
    """

    def __init__(
        self,
        *,
        reply: str = "one two three",
        limit: int = 5000,
        tokenizer: Any = None,
        max_session_tokens: int | None = None,
    ) -> None:
        super().__init__(EngineConfig(model="fake", max_session_tokens=max_session_tokens))
        self.reply: Callable[[str], str] = lambda _: reply
        self.finish_reason = "stop"
        self.sessions: list[FakeSession] = []
        self.decoding = Gate()
        self.starts = 0
        self._limit = limit
        self._tokenizer = tokenizer or CharTokenizer()
        self._changed = threading.Condition()

    async def start(self) -> None:
        if self._closed:
            raise EngineDeadError("the engine was closed; start a new one")
        self.starts += 1

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    @property
    def max_prompt_tokens(self) -> int:
        if not self.starts:
            raise EngineDeadError("not started")
        return self._limit

    async def open_session(self, *_: Any, **options: Any) -> Any:
        session = FakeSession(self, options)
        self.sessions.append(session)
        return session

    def pieces(self, prompt: str) -> list[tuple[str, tuple[int, ...]]]:
        """The answer word by word, or token by token if the tokenizer is a real one."""
        reply = self.reply(prompt)
        if isinstance(self._tokenizer, CharTokenizer):
            words = reply.split(" ")
            spaced = [f"{word} " for word in words[:-1]] + words[-1:]
            return [(word, (i,)) for i, word in enumerate(spaced)]
        ids = self._tokenizer.encode(reply, add_special_tokens=False)
        return [(self._tokenizer.decode([token]), (token,)) for token in ids]

    @property
    def operations(self) -> list[tuple[str, str]]:
        """The operations of the only session."""
        (session,) = self.sessions
        return session.operations

    @property
    def prompt(self) -> str:
        """The prompt of the only session, as it stands."""
        (session,) = self.sessions
        return session.prompt

    def noticed(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Waits until ``condition`` holds after an operation; fails if it never does."""
        with self._changed:
            assert self._changed.wait_for(condition, PATIENCE_S)

    async def until_sent(self, text: str) -> None:
        """Waits until a session was told ``text``; fails if that does not come."""
        await asyncio.to_thread(self.wait_until, lambda: any(text in sent for sent in self.sent()))

    async def until_aborted(self) -> None:
        """Waits until the only session is aborted."""
        await asyncio.to_thread(self.wait_until_aborted)

    def wait_until_aborted(self) -> None:
        """Waits until the only session is aborted."""
        self.wait_until(lambda: bool(self.sessions) and ("abort", "") in self.operations)

    def sent(self) -> list[str]:
        return [text for session in self.sessions for _, text in session.operations]


class ScriptedRetriever(StreamingRetriever):
    """Yields the given chunks; waits before each until the engine has got the one before.

    A query engine that does not overlap retrieval and prefill therefore fails.

    Attributes:
        chunks: Lists of nodes to yield; an exception is raised, an event waited for.
        closed: How many retrievals were left, whether at the end or not.
    """

    def __init__(self, chunks: list[Any], engine: FakeEngine | None = None) -> None:
        super().__init__()
        self.chunks = chunks
        self.engine = engine
        self.closed = 0

    async def _astream_retrieve(self, query_bundle: Any) -> AsyncIterator[list[NodeWithScore]]:
        try:
            for chunk in self.chunks:
                if isinstance(chunk, Exception):
                    raise chunk
                if isinstance(chunk, Gate):
                    await chunk.wait()
                    continue
                yield chunk
                if self.engine is not None and chunk:
                    await self.engine.until_sent(chunk[-1].text)
        finally:
            self.closed += 1


class Recorder(BaseEventHandler):
    """Every instrumentation event."""

    events: list[Any] = []  # noqa: RUF012 - pydantic copies it

    @classmethod
    def class_name(cls) -> str:
        return "Recorder"

    def handle(self, event: BaseEvent, **_: Any) -> None:
        self.events.append(event)

    @property
    def names(self) -> list[str]:
        return [event.class_name() for event in self.events]

    def of(self, name: str) -> Any:
        """The only event of that name."""
        (event,) = [event for event in self.events if event.class_name() == name]
        return event


class Callbacks(BaseCallbackHandler):
    """Starts and ends of events of the older callback system."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.seen: list[str] = []
        self.payloads: dict[str, Any] = {}

    @property
    def manager(self) -> CallbackManager:
        return CallbackManager([self])

    def on_event_start(
        self, event_type: CBEventType, payload: Any = None, event_id: str = "", *_: Any, **__: Any
    ) -> str:
        self.seen.append(f"{event_type.value} start")
        return event_id

    def on_event_end(
        self, event_type: CBEventType, payload: Any = None, *_: Any, **__: Any
    ) -> None:
        self.seen.append(f"{event_type.value} end")
        self.payloads[event_type.value] = payload

    def start_trace(self, trace_id: str | None = None) -> None:
        pass

    def end_trace(self, trace_id: str | None = None, trace_map: Any = None) -> None:
        pass


def node(text: str, score: float | None = 0.9, **metadata: Any) -> NodeWithScore:
    """A node whose id is its text."""
    return NodeWithScore(node=TextNode(text=text, id_=f"id-{text}", metadata=metadata), score=score)
