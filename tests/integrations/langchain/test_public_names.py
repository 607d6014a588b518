import langchain_stream2llm


def test_every_public_name_is_there_and_documented() -> None:
    for name in langchain_stream2llm.__all__:
        assert getattr(langchain_stream2llm, name).__doc__, name
    assert sorted(langchain_stream2llm.__all__) == [
        "ChatStream2LLM",
        "DocumentDelta",
        "StreamingChatPromptTemplate",
        "StreamingRetriever",
        "create_streaming_rag_chain",
        "materialize",
    ]
