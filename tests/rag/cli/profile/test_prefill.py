"""A measurement is exactly the work that it says it is."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from stream2llm_engine import StreamEngine
from stream2llm_rag.cli._profile._measure import engine_config
from stream2llm_rag.cli._profile._prefill import StepTimer
from stream2llm_rag.cli._profile._settings import Point, ProfileSettings
from stream2llm_rag.cli.errors import CommandError
from tests.support.models import save_random_llama

pytestmark = pytest.mark.engine

SETTINGS = ProfileSettings(
    tokens=(32, 200), contexts=(0, 100), token_budget=64, repeats=2, answer_tokens=5
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StreamEngine]:
    model = save_random_llama(tmp_path_factory.mktemp("model"), max_position_embeddings=512)
    async with StreamEngine(engine_config(str(model), SETTINGS)) as running:
        yield running


@pytest.mark.parametrize("point", [Point(32, 0), Point(200, 0), Point(32, 100), Point(200, 100)])
async def test_a_prefill_computes_its_tokens_in_its_steps(
    engine: StreamEngine, point: Point
) -> None:
    timer = StepTimer(engine, SETTINGS)
    before = await engine.stats()
    assert await timer._prefill(point) > 0
    after = await engine.stats()
    context_steps = SETTINGS.steps(point.context)
    assert after.steps - before.steps == SETTINGS.steps(point.tokens) + context_steps
    computed = after.tokens["computed"] - before.tokens["computed"]
    assert computed == point.tokens + point.context
    assert after.tokens["reused"] == 0


async def test_everything_is_timed(engine: StreamEngine) -> None:
    timer = StepTimer(engine, SETTINGS)
    await timer.warm_up()
    done: list[None] = []
    timings = await timer.measure(lambda: done.append(None))
    assert len(done) == timer.total == 2 * 6
    assert [timing[:4] for timing in timings] == [
        (32, 0, 1, True),
        (32, 100, 1, True),
        (200, 0, 4, True),
        (200, 100, 4, True),
        (1, 18, 1, False),
        (1, 102, 1, False),
    ]
    assert all(len(t.seconds) == 2 and min(t.seconds) > 0 for t in timings)
    await engine.check_integrity()


async def test_a_model_without_room_for_the_grid(engine: StreamEngine) -> None:
    with pytest.raises(CommandError, match="at most 511 tokens"):
        StepTimer(engine, ProfileSettings(tokens=(32, 600), contexts=(0,)))
