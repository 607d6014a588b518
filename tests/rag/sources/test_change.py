from hypothesis import given

from stream2llm_rag import Append, ContextEvent, Update
from stream2llm_rag.events import ranked_after
from stream2llm_rag.sources import event_between
from stream2llm_rag.sources._change import coalesced
from tests.rag.builders import append, documents, event_sequences, update
from tests.rag.sources.scripted import final


@given(event_sequences, event_sequences)
def test_the_event_between_two_lists_leads_from_one_to_the_other(
    first: list[ContextEvent], second: list[ContextEvent]
) -> None:
    before, after = final(first), final(second)
    event = event_between(before, after)
    assert (before if event is None else ranked_after(before, event)) == after


def test_an_append_where_that_is_enough() -> None:
    assert event_between(documents("a"), documents("a")) is None
    assert event_between(documents("a"), documents("a", "b")) == append("b")
    assert event_between(documents("a", "b"), documents("b")) == update("b")


@given(event_sequences, event_sequences)
def test_a_coalesced_event_does_what_both_do(
    before: list[ContextEvent], events: list[ContextEvent]
) -> None:
    start: Append | Update = append()
    together = start
    for event in events:
        together = coalesced(together, event)
    assert ranked_after(final(before), together) == final([*before, start, *events])
