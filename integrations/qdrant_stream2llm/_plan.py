"""Which stages are worth their while."""

import math
from collections import deque
from collections.abc import Sequence
from statistics import median

from qdrant_stream2llm._emission import Early
from qdrant_stream2llm._stages import AnyStage, Hybrid, Rerank

__all__ = ["Latencies", "skipped_stages"]

_REMEMBERED = 9


class Latencies:
    """How long each stage took lately."""

    def __init__(self, stages: int) -> None:
        self._seconds = [deque[float](maxlen=_REMEMBERED) for _ in range(stages)]

    def record(self, stage: int, seconds: float) -> None:
        """Takes a measurement in."""
        self._seconds[stage].append(seconds)

    @property
    def typical(self) -> list[float]:
        """The median of each stage, in seconds; infinite while nothing is known."""
        return [median(tuple(known)) if known else math.inf for known in self._seconds]


def skipped_stages(
    stages: Sequence[AnyStage],
    seconds: Sequence[float],
    *,
    document_prefill_s: float,
    early: Early,
) -> dict[int, str]:
    """Returns the stages that are not worth running, each with the reason.

    What a stage that is not the last one buys is the time until the final ranking, in which the
    engine can prefill what the stage found. If that is less than the prefill of one document takes,
    the stage only costs. Searches that a ``Rerank`` works on always run, and so does the last
    stage.

    Args:
        stages: All stages.
        seconds: How long each one takes.
        document_prefill_s: How long the engine takes to prefill one document.
        early: What is passed on before the final ranking.
    """
    skipped: dict[int, str] = {}
    kept = [len(stages) - 1]
    left_s = seconds[-1]
    for number in reversed(range(len(stages) - 1)):
        if isinstance(stages[kept[0]], Rerank) or left_s >= document_prefill_s:
            kept.insert(0, number)
            left_s += seconds[number]
        else:
            skipped[number] = (
                f"the final ranking is there {1000 * left_s:.1f} ms later, less than the"
                f" {1000 * document_prefill_s:.1f} ms that prefilling one document takes"
            )
    if early == "settled" and _only_search_before_the_last([stages[number] for number in kept]):
        skipped[kept[0]] = (
            "two rankings before the final one would have to agree on a place, and it gives the"
            " only one; add a stage, or pass on what is not settled with early='all'"
        )
    return skipped


def _only_search_before_the_last(kept: Sequence[AnyStage]) -> bool:
    """Whether ``kept`` gives one ranking before the final one, which nothing else needs."""
    rankings = sum(len(stage.searches) if isinstance(stage, Hybrid) else 1 for stage in kept)
    return len(kept) == rankings == 2 and not isinstance(kept[1], Rerank)
