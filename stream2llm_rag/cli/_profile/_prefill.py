"""Timing engine steps on a real engine."""

import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from typing import Any

from stream2llm_engine import SamplingParams, StreamEngine, StreamOutput
from stream2llm_rag.cli._profile._settings import Point, ProfileSettings
from stream2llm_rag.cli._profile._timings import StepTiming
from stream2llm_rag.cli.errors import CommandError

__all__ = ["StepTimer"]

_SHORT_PROMPT_TOKENS = 16


class StepTimer:
    """Times prefills and decoding steps of requests that are alone on the engine.

    Args:
        engine: A started engine without prefix caching.
        settings: What is timed.
    """

    def __init__(self, engine: StreamEngine, settings: ProfileSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._random = random.Random(settings.seed)
        self._vocabulary = range(len(engine.tokenizer))
        self.points = settings.points(engine.max_prompt_tokens)
        # Answers start behind a prompt of at least a few tokens.
        prompts = {max(point.context, _SHORT_PROMPT_TOKENS) for point in self.points}
        self._prompts = sorted(
            tokens
            for tokens in prompts
            if tokens + settings.answer_tokens <= engine.max_prompt_tokens
        )
        if len({point.tokens for point in self.points}) == 1 or not self.points:
            msg = (
                f"the engine takes prompts of at most {engine.max_prompt_tokens} tokens, too few"
                " to tell the cost of a token from that of a step: give it a larger KV cache or"
                " another model"
            )
            raise CommandError(msg)

    @property
    def total(self) -> int:
        """How many measurements :meth:`measure` takes."""
        return (len(self.points) + len(self._prompts)) * self._settings.repeats

    async def warm_up(self) -> None:
        """Runs every kind of request once, so that no measurement pays for first-time work."""
        for point in (self.points[0], self.points[-1]):
            await self._prefill(point)
        await self._answer(self._prompts[0])

    async def measure(self, advance: Callable[[], None]) -> list[StepTiming]:
        """Takes all measurements in a random order, so that a drift of the machine meets all.

        Args:
            advance: Called after each.
        """
        prefills: dict[Point, list[float]] = defaultdict(list)
        answers: dict[int, list[float]] = defaultdict(list)
        for _ in range(self._settings.repeats):
            work: list[Point | int] = [*self.points, *self._prompts]
            self._random.shuffle(work)
            for item in work:
                if isinstance(item, Point):
                    prefills[item].append(await self._prefill(item))
                else:
                    answers[item].append(await self._answer(item))
                advance()
        statistic = self._settings.statistic
        middle = self._settings.answer_tokens // 2
        return [
            StepTiming(*point, self._settings.steps(point.tokens), True, tuple(seconds), statistic)
            for point, seconds in sorted(prefills.items())
        ] + [
            StepTiming(1, prompt + middle, 1, False, tuple(seconds), statistic)
            for prompt, seconds in sorted(answers.items())
        ]

    async def _prefill(self, point: Point) -> float:
        sampling: Any = SamplingParams(temperature=0.0, max_tokens=1)
        tokens = self._tokens(point.tokens)
        if not point.context:
            started = time.perf_counter()
            first, _, _ = await _times(
                self._engine.generate({"prompt_token_ids": tokens}, sampling)
            )
            return first - started
        # The last token of an open session is not computed, so it counts as a new one.
        session = await self._engine.open_session(self._tokens(point.context) + tokens[:1])
        await session.wait_prefilled()
        started = time.perf_counter()
        first, _, _ = await _times(session.finalize(tokens[1:], sampling))
        if session.stats.prefilled_before_final != point.context:
            msg = (
                f"{session.stats.prefilled_before_final} instead of {point.context} tokens were"
                " computed before the clock started; please report this"
            )
            raise CommandError(msg)
        return first - started

    async def _answer(self, prompt: int) -> float:
        """Returns the seconds of a step in the middle of an answer."""
        sampling: Any = SamplingParams(
            temperature=0.0, max_tokens=self._settings.answer_tokens, ignore_eos=True
        )
        request = {"prompt_token_ids": self._tokens(prompt)}
        first, last, between = await _times(self._engine.generate(request, sampling))
        return (last - first) / between

    def _tokens(self, count: int) -> list[int]:
        return self._random.choices(self._vocabulary, k=count)


async def _times(outputs: AsyncIterator[StreamOutput]) -> tuple[float, float, int]:
    """Returns when the first and the last tokens came, and how many came after the first."""
    first = last = 0.0
    counts: list[int] = []
    async for output in outputs:
        if output.token_ids:
            last = time.perf_counter()
            first = first or last
            counts.append(len(output.token_ids))
    return first, last, sum(counts[1:])
