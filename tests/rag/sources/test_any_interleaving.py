"""However events come, the final context is the one that everything at once would have given."""

import asyncio
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from stream2llm_rag import Append, ContextEvent, Document, Update
from stream2llm_rag.sources import (
    ContextSource,
    Slot,
    budget,
    coalesce,
    deduplicate,
    from_retriever,
    merge,
    rerank,
    time_limit,
)
from tests.rag.builders import event_sequences
from tests.rag.sources.scripted import Scripted, collect, final, turns

_Combinator = Callable[[ContextSource], ContextSource]


def by_text(query: str, documents: tuple[Document, ...]) -> list[Document]:
    return sorted(documents, key=lambda document: (document.text, document.id))[:3]


async def by_text_async(query: str, documents: tuple[Document, ...]) -> list[Document]:
    return by_text(query, documents)


COMBINATORS: dict[str, _Combinator] = {
    "budget": lambda source: budget(source, tokens=20, tokenizer=len),
    "budget by priority": lambda source: budget(
        source, tokens=12, tokenizer=len, priority=lambda document: -len(document.text)
    ),
    "deduplicate": lambda source: deduplicate(source, threshold=0.5, shingle_words=1),
    "coalesce": lambda source: coalesce(source, max_pending=2),
    "time limit": lambda source: time_limit(source, 60),
    "rerank": lambda source: rerank(source, by_text_async),
    "merge of one": merge,
}
combinators = st.lists(st.sampled_from(sorted(COMBINATORS)), max_size=4)
pauses = st.lists(st.integers(0, 6), max_size=12)


def combined(source: ContextSource, names: list[str]) -> ContextSource:
    for name in names:
        source = COMBINATORS[name](source)
    return source


async def consume(source: ContextSource, waits: list[int]) -> list[Append | Update]:
    """Takes the events, busy for a while after each."""
    seen = []
    async for event in source.stream("q"):
        seen.append(event)
        await turns(waits[len(seen) % len(waits)] if waits else 0)
    return seen


@settings(deadline=None)
@given(event_sequences, combinators, pauses, pauses)
def test_any_combinators_over_any_events(
    events: list[ContextEvent], names: list[str], between: list[int], waits: list[int]
) -> None:
    async def run() -> tuple[Document, ...]:
        source = Scripted()
        consumer = asyncio.create_task(consume(combined(source, names), waits))
        for place, event in enumerate(events):
            source.events.put_nowait(event)
            await turns(between[place % len(between)] if between else 0)
        source.events.put_nowait(None)
        return final(await consumer)

    at_once = from_retriever([Append(documents=final(events))])
    assert asyncio.run(run()) == final(asyncio.run(collect(combined(at_once, names))))


@settings(deadline=None)
@given(st.data(), combinators)
def test_sources_of_different_priorities_in_any_interleaving(
    data: st.DataObject, names: list[str]
) -> None:
    scripts = data.draw(st.lists(event_sequences, min_size=1, max_size=3), "events by source")
    limits = data.draw(st.tuples(*(st.none() | st.integers(1, 4) for _ in scripts)), "limits")
    priorities = data.draw(st.permutations(range(len(scripts))), "priorities")
    order = data.draw(
        st.permutations([place for place, script in enumerate(scripts) for _ in script]), "order"
    )
    between = data.draw(pauses, "pauses")

    async def run() -> tuple[Document, ...]:
        sources = [Scripted() for _ in scripts]
        slots = [
            Slot(source, priority=priority, limit=limit)
            for source, priority, limit in zip(sources, priorities, limits, strict=True)
        ]
        consumer = asyncio.create_task(consume(combined(merge(*slots), names), between))
        left = [iter(script) for script in scripts]
        for step, place in enumerate(order):
            sources[place].events.put_nowait(next(left[place]))
            await turns(between[step % len(between)] if between else 0)
        for source in sources:
            source.events.put_nowait(None)
        return final(await consumer)

    places = sorted(range(len(scripts)), key=priorities.__getitem__, reverse=True)
    ranked = [doc for place in places for doc in final(scripts[place])[: limits[place]]]
    at_once = from_retriever([Append(documents=final([Append(documents=tuple(ranked))]))])
    assert asyncio.run(run()) == final(asyncio.run(collect(combined(at_once, names))))


@settings(deadline=None)
@given(st.data())
def test_sources_of_one_priority_find_the_same_documents_in_any_interleaving(
    data: st.DataObject,
) -> None:
    scripts = data.draw(st.lists(event_sequences, min_size=1, max_size=3), "events by source")
    order = data.draw(
        st.permutations([place for place, script in enumerate(scripts) for _ in script]), "order"
    )

    async def run() -> tuple[Document, ...]:
        sources = [Scripted() for _ in scripts]
        consumer = asyncio.create_task(collect(merge(*sources)))
        left = [iter(script) for script in scripts]
        for place in order:
            sources[place].events.put_nowait(next(left[place]))
            await turns(3)
        for source in sources:
            source.events.put_nowait(None)
        return final(await consumer)

    versions = {(doc.id, doc.text) for script in scripts for doc in final(script)}
    merged = asyncio.run(run())
    assert {doc.id for doc in merged} == {name for name, _ in versions}
    assert {(doc.id, doc.text) for doc in merged} <= versions
