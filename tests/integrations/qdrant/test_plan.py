import math

import pytest

from qdrant_stream2llm import Hybrid, Rerank, Stage
from qdrant_stream2llm._emission import Early
from qdrant_stream2llm._plan import Latencies, skipped_stages
from qdrant_stream2llm._stages import AnyStage

QUICK, BETTER, EXACT = Stage(hnsw_ef=16), Stage(hnsw_ef=64, rescore=True), Stage(exact=True)
RERANK = Rerank(reranker=lambda query, documents: documents)
HYBRID = Hybrid(searches=(Stage(), Stage(using="sparse")))


def skipped(
    stages: list[AnyStage], milliseconds: list[float], *, early: Early = "all", document: float = 10
) -> list[int]:
    seconds = [each / 1000 for each in milliseconds]
    reasons = skipped_stages(stages, seconds, document_prefill_s=document / 1000, early=early)
    assert all(reasons.values())
    return sorted(reasons)


@pytest.mark.parametrize(
    ("milliseconds", "expected"),
    [
        ([0.1, 0.3, 5], [0, 1]),  # an index in memory: nothing can be prefilled in between
        ([0.1, 0.3, 300], []),  # a slow final search leaves time for both
        ([0.1, 20, 5], [0, 1]),  # time that a skipped stage would take is no time to prefill
        ([0.1, 20, 15], []),  # both come 15 ms or more before the final one
        ([200, 1, 1], [0, 1]),  # slow itself, but soon followed by the final ranking
        ([math.inf, math.inf, math.inf], []),  # nothing is known yet
    ],
)
def test_a_stage_must_leave_time_to_prefill_a_document(
    milliseconds: list[float], expected: list[int]
) -> None:
    assert skipped([QUICK, BETTER, EXACT], milliseconds) == expected


def test_no_cost_skips_nothing() -> None:
    assert skipped([QUICK, BETTER, EXACT], [0, 0, 0], document=0) == []


def test_what_is_reranked_is_searched_first() -> None:
    assert skipped([QUICK, BETTER, RERANK], [1, 1, 2]) == [0]
    assert skipped([QUICK, RERANK, RERANK], [1, 2, 2]) == []


def test_settled_places_need_two_rankings_before_the_final_one() -> None:
    assert skipped([QUICK, EXACT], [1, 300], early="settled") == [0]
    assert skipped([QUICK, EXACT], [1, 300], early="all") == []
    assert skipped([QUICK, RERANK], [1, 300], early="settled") == []
    assert skipped([QUICK, BETTER, EXACT], [1, 1, 300], early="settled") == []
    assert skipped([QUICK, HYBRID], [1, 300], early="settled") == []
    assert skipped([HYBRID], [300], early="settled") == []


def test_one_stage_is_never_skipped() -> None:
    assert skipped([EXACT], [0.1], early="settled") == []


def test_a_latency_is_typical_and_not_the_last_one() -> None:
    latencies = Latencies(2)
    assert latencies.typical == [math.inf, math.inf]
    for seconds in (0.2, 0.1, 9.0):
        latencies.record(0, seconds)
    assert latencies.typical == [0.2, math.inf]
    for _ in range(20):
        latencies.record(0, 0.5)
    assert latencies.typical[0] == 0.5
