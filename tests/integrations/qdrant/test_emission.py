from hypothesis import given
from hypothesis import strategies as st

from qdrant_stream2llm import Early
from qdrant_stream2llm._emission import Emission
from stream2llm_rag import Append, Document, Update
from stream2llm_rag.events import ranked_after
from tests.rag.builders import append, documents, update

_rankings = st.lists(
    st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 2)), unique_by=lambda d: d[0]),
    min_size=1,
    max_size=5,
)


def events_of(early: Early, *rankings: tuple[Document, ...]) -> list[Append | Update | None]:
    emission = Emission(early)
    return [*map(emission.early, rankings[:-1]), emission.final(rankings[-1])]


def test_only_what_two_rankings_agree_on_is_passed_on_early() -> None:
    assert events_of(
        "settled",
        documents("a", "b", "c", "d"),
        documents("a", "b", "d", "c"),
        documents("a", "b", "d", "x"),
        documents("a", "b", "d", "x"),
    ) == [None, append("a", "b"), append("d"), append("x")]


def test_what_is_settled_stays_until_the_final_ranking_takes_it_back() -> None:
    assert events_of(
        "settled",
        documents("a", "b"),
        documents("a", "b"),
        documents("b", "a"),
        documents("b", "c"),
    ) == [None, append("a", "b"), None, update("b", "c")]


def test_every_ranking_can_be_passed_on() -> None:
    assert events_of(
        "all", documents("a", "b"), documents("a", "b"), documents("b", "c"), documents("b", "c")
    ) == [append("a", "b"), None, update("b", "c"), None]


def test_the_final_scores_count() -> None:
    rough, exact = (
        (Document(id="a", text="A", score=score), Document(id="b", text="B", score=score))
        for score in (0.5, 0.6)
    )
    assert events_of("settled", rough, rough, exact) == [
        None,
        Append(documents=rough),
        Update(documents=exact),
    ]


@given(_rankings, st.sampled_from(["settled", "all"]))
def test_any_rankings_lead_to_the_last_one(
    drawn: list[list[tuple[str, int]]], early: Early
) -> None:
    rankings = [
        tuple(Document(id=name, text=name, score=score) for name, score in ranking)
        for ranking in drawn
    ]
    context: tuple[Document, ...] = ()
    for event in events_of(early, *rankings):
        context = context if event is None else ranked_after(context, event)
    assert context == rankings[-1]


@given(_rankings)
def test_settled_documents_are_only_appended_before_the_end(
    drawn: list[list[tuple[str, int]]],
) -> None:
    rankings = [tuple(Document(id=name, text=name) for name, _ in ranking) for ranking in drawn]
    *before, _last = events_of("settled", *rankings)
    assert not any(isinstance(event, Update) for event in before)
