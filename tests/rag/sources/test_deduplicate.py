import pytest

from stream2llm_rag import Append, Document, Update
from stream2llm_rag.sources import deduplicate, from_retriever
from tests.rag.sources.scripted import collect, final

STORY = (
    "The capital of Zorland is Mirefall, a town of some ten thousand people on the river Bessel."
    " It was founded in the year of the great flood and burned down twice before the war."
)


def doc(name: str, text: str) -> Document:
    return Document(id=name, text=text)


ORIGINAL = doc("original", STORY)
COPY = doc("copy", STORY.upper().replace(",", " --").replace(". ", ".\n\n"))
EDITED = doc("edited", STORY.replace("ten thousand", "twelve thousand"))
OTHER = doc("other", "The river of Quen is Tessin. " + STORY[-40:])


async def kept(*documents: Document, threshold: float = 0.8) -> list[str]:
    events = await collect(deduplicate(from_retriever([list(documents)]), threshold=threshold))
    return [document.id for document in final(events)]


async def test_copies_go_and_the_better_ranked_one_stays() -> None:
    assert await kept(ORIGINAL, COPY, OTHER) == ["original", "other"]
    assert await kept(COPY, OTHER, ORIGINAL) == ["copy", "other"]


async def test_the_threshold_says_how_near_is_a_duplicate() -> None:
    assert await kept(ORIGINAL, EDITED, OTHER) == ["original", "other"]
    assert await kept(ORIGINAL, EDITED, OTHER, threshold=0.99) == ["original", "edited", "other"]


async def test_short_and_empty_texts() -> None:
    texts = ["Yes.", "yes", "No.", "", "...", "Yes and no, and again yes."]
    assert await kept(*(doc(str(place), text) for place, text in enumerate(texts))) == [
        *("0", "2", "3", "4", "5")
    ]


async def test_scripts_without_spaces() -> None:
    first = "東京は日本の首都であり、世界でも最大級の都市のひとつである。"
    near = first.replace("最大級", "有数")
    assert await kept(doc("a", first), doc("b", near), doc("c", "大阪は商業の都市")) == [
        "a",
        "b",
        "c",
    ]
    assert await kept(doc("a", first), doc("b", near), threshold=0.6) == ["a"]


async def test_an_append_never_changes_what_was_passed_on() -> None:
    source = from_retriever([ORIGINAL, COPY, OTHER])
    assert await collect(deduplicate(source)) == [
        Append(documents=(ORIGINAL,)),
        Append(documents=(OTHER,)),
    ]


async def test_a_duplicate_comes_back_when_the_other_goes() -> None:
    source = from_retriever([Append(documents=(ORIGINAL, COPY)), Update(documents=(OTHER, COPY))])
    assert await collect(deduplicate(source)) == [
        Append(documents=(ORIGINAL,)),
        Update(documents=(OTHER, COPY)),
    ]


@pytest.mark.parametrize("options", [{"threshold": 0.0}, {"threshold": 1.1}, {"shingle_words": 0}])
def test_bounds_make_sense(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        deduplicate(from_retriever([]), **options)  # type: ignore[arg-type]
