from itertools import pairwise

import numpy as np
import pytest

from stream2llm_rag.workloads._ranked_pool import ranked_snapshots


def snapshots(
    count: int = 2000, documents: int = 10, replacement: float = 0.15, rerank: float = 0.3
) -> list[list[int]]:
    return ranked_snapshots(
        np.random.default_rng(0),
        snapshots=count,
        documents=documents,
        replacement_rate=replacement,
        rerank_rate=rerank,
    )


@pytest.mark.parametrize("documents", [1, 2, 10])
def test_every_list_is_full_and_repeats_nothing(documents: int) -> None:
    lists = snapshots(200, documents)
    assert lists[0] == list(range(documents))
    assert len(lists) == 200
    assert {len(set(ranked)) for ranked in lists} == {documents}


@pytest.mark.parametrize("rate", [0.0, 0.15, 1.0])
def test_replacement_rate(rate: float) -> None:
    lists = snapshots(replacement=rate)
    shares = [len(set(after) - set(before)) / 10 for before, after in pairwise(lists)]
    assert np.mean(shares) == pytest.approx(rate, abs=0.01)


def test_newcomers_push_the_worst_out_and_are_never_seen_before() -> None:
    known: set[int] = set()
    for before, after in pairwise(snapshots(rerank=0.0)):
        known |= set(before)
        entering = [document for document in after if document not in before]
        survivors = [document for document in after if document in before]
        assert survivors == before[: 10 - len(entering)]
        assert known.isdisjoint(entering)


def test_newcomers_enter_at_any_rank() -> None:
    ranks = np.zeros(10)
    for before, after in pairwise(snapshots(5000)):
        for rank, document in enumerate(after):
            ranks[rank] += document not in before
    assert ranks / ranks.sum() == pytest.approx(np.full(10, 0.1), abs=0.01)


def test_rerank_rate_is_the_share_of_survivors_that_move() -> None:
    # A single move among many documents leaves all others in order: it can be counted.
    lists = snapshots(documents=200, replacement=0.0, rerank=0.005)
    moved = [before != after for before, after in pairwise(lists)]
    assert np.mean(moved) == pytest.approx(1 - 0.995**200, abs=0.03)
    assert all(a == b for a, b in pairwise(snapshots(50, replacement=0.0, rerank=0.0)))
