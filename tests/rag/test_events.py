import pytest
from pydantic import TypeAdapter, ValidationError

from stream2llm_rag import Append, ContextEvent, Document, Update
from stream2llm_rag.events import ranked_after
from tests.rag.builders import append, documents, update


def ids(ranked: tuple[Document, ...]) -> list[str]:
    return [document.id for document in ranked]


def test_append_puts_new_documents_behind() -> None:
    assert ids(ranked_after(documents("a"), append("b", "c"))) == ["a", "b", "c"]


def test_append_never_changes_what_is_there() -> None:
    event = Append(documents=(Document(id="a", text="another text"), *documents("b", "b")))
    assert ranked_after(documents("a"), event) == documents("a", "b")


def test_update_is_the_full_new_list() -> None:
    newer = Document(id="a", text="another text")
    event = Update(documents=(*documents("c"), newer, *documents("c")))
    assert ranked_after(documents("a", "b"), event) == (*documents("c"), newer)


def test_empty_events() -> None:
    assert ranked_after(documents("a"), append()) == documents("a")
    assert ranked_after(documents("a"), update()) == ()


def test_events_are_frozen_and_survive_json() -> None:
    adapter = TypeAdapter[ContextEvent](ContextEvent)
    for event in (append("a"), update("b", "a"), append()):
        assert adapter.validate_json(adapter.dump_json(event)) == event
    with pytest.raises(ValidationError):
        append("a").documents = ()  # type: ignore[misc]
    with pytest.raises(ValidationError):
        adapter.validate_python({"kind": "retract", "documents": []})


def test_document_id_from_text_follows_the_text() -> None:
    assert Document.from_text("x", page=1) == Document.from_text("x", page=1)
    assert Document.from_text("x").id != Document.from_text("y").id
