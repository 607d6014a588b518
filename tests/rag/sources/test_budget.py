import pytest
from transformers import PreTrainedTokenizerFast

from stream2llm_rag import Append, ContextSourceError, Document, Update
from stream2llm_rag.sources import budget, from_retriever
from tests.rag.sources.scripted import collect, final


def words(text: str) -> int:
    return len(text.split())


def doc(name: str, text: str, score: float | None = None) -> Document:
    return Document(id=name, text=text, score=score)


A = doc("a", "One two three. Four five six. Seven eight.", score=0.1)
B = doc("b", "Nine ten. Eleven twelve.", score=0.9)
C = doc("c", "Thirteen.", score=0.5)


async def test_what_fits_passes_as_it_comes() -> None:
    events = [Append(documents=(A,)), Append(documents=(B, C))]
    assert await collect(budget(from_retriever(events), tokens=13, tokenizer=words)) == events


async def test_what_does_not_fit_is_cut_at_a_sentence_and_smaller_ones_fill_the_rest() -> None:
    source = from_retriever([Append(documents=(A, B, C))])
    (event,) = await collect(budget(source, tokens=11, tokenizer=words))
    a, b, c = event.documents
    assert (a, c) == (A, C)
    assert b.text == "Nine ten."
    assert b.metadata == {"truncated": True}


async def test_only_one_document_is_cut() -> None:
    source = from_retriever([Append(documents=(B, A))])
    (event,) = await collect(budget(source, tokens=3, tokenizer=words))
    assert [document.text for document in event.documents] == ["Nine ten."]


async def test_without_truncation_whole_documents_only() -> None:
    source = from_retriever([Append(documents=(A, B, C))])
    (event,) = await collect(budget(source, tokens=11, tokenizer=words, truncate=False))
    assert event.documents == (A, C)


async def test_a_higher_priority_that_comes_later_takes_the_room() -> None:
    source = from_retriever([Append(documents=(A,)), Append(documents=(B,))])
    events = await collect(
        budget(source, tokens=8, tokenizer=words, priority=lambda document: document.score or 0)
    )
    shorter = A.model_copy(update={"text": "One two three.", "metadata": {"truncated": True}})
    assert events == [Append(documents=(A,)), Update(documents=(shorter, B))]


async def test_room_that_an_update_frees_is_used_again() -> None:
    source = from_retriever([Append(documents=(A, B)), Update(documents=(B,))])
    events = await collect(budget(source, tokens=9, tokenizer=words))
    assert final(events) == (B,)


async def test_what_each_document_costs_besides_its_text_counts() -> None:
    source = from_retriever([Append(documents=(C, C.model_copy(update={"id": "d"})))])
    (event,) = await collect(budget(source, tokens=3, tokenizer=words, per_document=1))
    assert event.documents == (C,)


async def test_a_models_tokenizer_counts(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    length = len(plain_tokenizer.encode(A.text, add_special_tokens=False))
    for tokens, whole in [(length, True), (length - 1, False)]:
        source = from_retriever([Append(documents=(A,))])
        (event,) = await collect(budget(source, tokens=tokens, tokenizer=plain_tokenizer))
        assert (event.documents == (A,)) is whole


@pytest.mark.parametrize(
    ("text", "tokens", "cut"),
    [
        ('He said "go." Then he left the room.', 4, 'He said "go."'),
        ("Heading\nA line of text that is long", 3, "Heading"),
        ("3.14 is a number. It is long.", 4, "3.14 is a number."),
        ("No end of a sentence before the limit. Here.", 5, None),
        ("\n\n  Spaces. And more of them.", 1, "\n\n  Spaces."),
    ],
)
async def test_where_a_text_is_cut(text: str, tokens: int, cut: str | None) -> None:
    source = from_retriever([doc("x", text)])
    events = await collect(budget(source, tokens=tokens, tokenizer=words))
    assert [document.text for document in final(events)] == ([] if cut is None else [cut])


async def test_scripts_without_spaces_are_cut_too() -> None:
    source = from_retriever([doc("x", "東京は首都です。大阪は都市です。")])
    events = await collect(budget(source, tokens=10, tokenizer=len))
    assert final(events)[0].text == "東京は首都です。"


async def test_a_failing_count_is_a_typed_error() -> None:
    source = from_retriever([Append(documents=(A,))])
    with pytest.raises(ContextSourceError, match="budget"):
        await collect(budget(source, tokens=5, tokenizer=lambda text: 1 // 0))


def test_bounds_make_sense() -> None:
    with pytest.raises(ValueError, match="at least 1 token"):
        budget(from_retriever([]), tokens=0, tokenizer=len)
    with pytest.raises(ValueError, match="0 per document"):
        budget(from_retriever([]), tokens=5, tokenizer=len, per_document=-1)
    with pytest.raises(TypeError, match="neither a tokenizer"):
        budget(from_retriever([]), tokens=5, tokenizer=7)  # type: ignore[arg-type]
