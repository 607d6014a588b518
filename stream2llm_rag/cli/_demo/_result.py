"""What a demo run measured."""

import re
from statistics import median
from typing import Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict

from stream2llm_rag.cli._demo._settings import DemoSettings
from stream2llm_rag.pipeline import RagAnswer, RagTiming
from stream2llm_rag.reader import Fact

__all__ = ["DemoResult", "Mode", "Summary", "Turn"]

Mode: TypeAlias = Literal["blocking", "streaming"]


class Turn(BaseModel):
    """One question in one mode; times are seconds since the mode's start.

    Attributes:
        mode: How it was served.
        user: Who asked.
        question: The question.
        expected: The right answer.
        answer: The model's answer.
        right: Whether the answer holds the right value as a word.
        timing: Where the time went.
        asked_s: When it was asked.
        arrivals_s: When pages arrived.
        prefills_s: When pages were computed: from sent to done.
    """

    model_config = ConfigDict(frozen=True)

    mode: Mode
    user: int
    question: str
    expected: str
    answer: str
    right: bool
    timing: RagTiming
    asked_s: float
    arrivals_s: tuple[float, ...]
    prefills_s: tuple[tuple[float, float], ...]

    @classmethod
    def of(
        cls,
        mode: Mode,
        user: int,
        fact: Fact,
        answer: RagAnswer,
        *,
        asked_s: float,
        arrivals_s: list[float],
        prefills_s: list[tuple[float, float]],
    ) -> Self:
        """Judges an answer."""
        return cls(
            mode=mode,
            user=user,
            question=fact.question,
            expected=fact.value,
            answer=answer.text.strip(),
            right=re.search(rf"\b{re.escape(fact.value)}\b", answer.text) is not None,
            timing=answer.timing,
            asked_s=asked_s,
            arrivals_s=tuple(arrivals_s),
            prefills_s=tuple(prefills_s),
        )


class Summary(BaseModel):
    """One mode in figures."""

    model_config = ConfigDict(frozen=True)

    ttft_from_final_p50_s: float
    ttft_from_final_max_s: float
    time_to_first_token_p50_s: float
    time_to_first_token_max_s: float
    prompt_tokens: int
    prefilled_before_final: int
    right: int
    questions: int

    @classmethod
    def of(cls, turns: list[Turn]) -> Self:
        """Sums one mode's turns up."""
        ttft = [turn.timing.ttft_s for turn in turns]
        total = [turn.timing.time_to_first_token_s for turn in turns]
        return cls(
            ttft_from_final_p50_s=median(ttft),
            ttft_from_final_max_s=max(ttft),
            time_to_first_token_p50_s=median(total),
            time_to_first_token_max_s=max(total),
            prompt_tokens=sum(turn.timing.prompt_tokens for turn in turns),
            prefilled_before_final=sum(turn.timing.prefilled_before_final for turn in turns),
            right=sum(turn.right for turn in turns),
            questions=len(turns),
        )


class DemoResult(BaseModel):
    """A whole run; both modes asked the same questions in the same order."""

    model_config = ConfigDict(frozen=True)

    settings: DemoSettings
    blocking: list[Turn]
    streaming: list[Turn]

    def summaries(self) -> dict[Mode, Summary]:
        """Both modes in figures."""
        return {"blocking": Summary.of(self.blocking), "streaming": Summary.of(self.streaming)}
