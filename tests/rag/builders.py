"""Short ways to write documents and events, and strategies that generate them."""

from hypothesis import strategies as st

from stream2llm_rag import Append, ContextEvent, Document, Update


def documents(*names: str) -> tuple[Document, ...]:
    """Documents whose text follows from their id."""
    return tuple(Document(id=name, text=f"The capital of {name} is {name}ville.") for name in names)


def append(*names: str) -> Append:
    return Append(documents=documents(*names))


def update(*names: str) -> Update:
    return Update(documents=documents(*names))


_document = st.builds(
    Document,
    id=st.sampled_from("abcdefgh"),
    text=st.sampled_from(["", "one", " two \n", "capital <|end|> of", "Zorland" * 5, "é𝄞"]),
)
_documents = st.lists(_document, max_size=5).map(tuple)
event_sequences: st.SearchStrategy[list[ContextEvent]] = st.lists(
    st.one_of(
        st.builds(Append, documents=_documents),
        st.builds(Update, documents=_documents),
    ),
    max_size=8,
)
