"""Inside a workflow the stream of nodes stays within one step.

One workflow event for every piece of context loses the last one, because the event that ends the
stream overtakes it. Progress may be mirrored as events; the context itself must not travel so.
"""

from typing import Any

from llama_index.core.workflow import Context, Event, StartEvent, StopEvent, Workflow, step

from llama_index.llms.stream2llm import Stream2LLM, StreamingQueryEngine
from tests.integrations.llama_index.fakes import FakeEngine, ScriptedRetriever, node


class Progress(Event):
    token: str
    sources: int


class Rag(Workflow):
    def __init__(self, query_engine: Any) -> None:
        super().__init__(timeout=60)
        self._query_engine = query_engine

    @step
    async def answer(self, ctx: Context, ev: StartEvent) -> StopEvent:
        response = await self._query_engine.aquery(ev.question)
        async for token in response.async_response_gen():
            ctx.write_event_to_stream(Progress(token=token, sources=len(response.source_nodes)))
        return StopEvent(result=await response.get_response())


async def test_no_node_is_lost_in_a_workflow_step(llm: Stream2LLM, engine: FakeEngine) -> None:
    retriever = ScriptedRetriever([[node(f"node {i}")] for i in range(20)], engine)
    query_engine = StreamingQueryEngine.from_args(retriever, llm=llm, streaming=True)
    handler = Rag(query_engine).run(question="what?")
    progress = [event async for event in handler.stream_events() if isinstance(event, Progress)]
    response: Any = await handler
    assert [event.token for event in progress] == ["one ", "two ", "three"]
    assert {event.sources for event in progress} == {20}
    assert response.response == "one two three"
    assert "node 19" in engine.prompt
