from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.documents import Document
from langchain_core.runnables import AddableDict

from langchain_stream2llm import DocumentDelta
from stream2llm_engine import InvalidRequestError
from tests.integrations.langchain.fakes import docs

_document = st.builds(
    Document,
    id=st.sampled_from([None, "", "a", "b", "c"]),
    page_content=st.sampled_from(["one", "two", "three"]),
)
_delta = st.builds(
    DocumentDelta,
    st.lists(_document, max_size=3),
    retract=st.frozensets(st.sampled_from("abc")),
)


def texts(documents: Sequence[Document]) -> Any:
    return [document.page_content for document in documents]


def test_a_known_id_is_replaced_in_place_and_a_new_one_goes_to_the_end() -> None:
    total = DocumentDelta(docs(a="A", b="B")) + DocumentDelta(docs(c="C", a="A2"))
    assert texts(total) == ["A2", "B", "C"]


def test_retracted_documents_go_and_may_come_back_at_the_end() -> None:
    total = DocumentDelta(docs(a="A", b="B", c="C"))
    total = total + DocumentDelta(docs(a="A2"), retract=["a", "b"])
    assert texts(total) == ["C", "A2"]


def test_documents_without_an_id_are_always_new() -> None:
    total = DocumentDelta(docs("same", a="A")) + docs("same")
    assert texts(total) == ["same", "A", "same"]


def test_a_list_that_repeats_an_id_stays_as_it_is() -> None:
    repeated = [*docs(a="A"), *docs(a="A")]
    assert texts(DocumentDelta() + repeated) == ["A", "A"]


def test_a_plain_list_takes_a_delta_in() -> None:
    assert texts(docs(a="A", b="B") + DocumentDelta(docs(b="B2"), retract=["a"])) == ["B2"]


def test_adding_in_place_merges_too() -> None:
    total = DocumentDelta(docs(a="A"))
    same = total
    total += docs(a="A2")
    assert texts(same) == ["A2"]


def test_langchain_adds_streamed_deltas_up() -> None:
    chunks = [
        AddableDict(context=DocumentDelta(docs(a="A", b="B"))),
        AddableDict(context=DocumentDelta(docs(c="C"), retract=["a"])),
    ]
    assert texts((chunks[0] + chunks[1])["context"]) == ["B", "C"]


def test_a_delta_shows_what_it_retracts() -> None:
    assert repr(DocumentDelta(retract=["b", "a"])) == "DocumentDelta([], retract=['a', 'b'])"


_ranking = st.lists(
    st.builds(Document, id=st.sampled_from("abcde"), page_content=st.sampled_from(["one", "two"])),
    unique_by=lambda document: document.id,
)


@given(_ranking, _ranking)
def test_the_delta_between_two_lists_leads_from_one_to_the_other(
    before: list[Document], after: list[Document]
) -> None:
    delta = DocumentDelta.between(before, after)
    assert list(DocumentDelta(before) + delta) == after
    assert delta.changes_nothing == (before == after)


def test_the_delta_between_two_lists_leaves_what_stays_where_it_is() -> None:
    delta = DocumentDelta.between(docs(a="A", b="B", c="C"), docs(b="B2", c="C", d="D"))
    assert texts(delta) == ["B2", "D"]
    assert delta.retract == {"a"}


def test_documents_without_an_id_may_stay_but_not_go() -> None:
    assert DocumentDelta.between(docs("A"), docs("A", "B")) == docs("B")
    with pytest.raises(InvalidRequestError, match="without an id"):
        DocumentDelta.between(docs("A", "B"), docs("B"))


@given(_delta, _delta, _delta)
def test_it_does_not_matter_which_deltas_are_added_first(
    base: DocumentDelta, first: DocumentDelta, second: DocumentDelta
) -> None:
    left, right = (base + first) + second, base + (first + second)
    assert left == right
    assert left.retract == right.retract
