"""How the top-k list of a running search changes from snapshot to snapshot."""

from numpy.random import Generator

__all__ = ["ranked_snapshots"]


def ranked_snapshots(
    rng: Generator, *, snapshots: int, documents: int, replacement_rate: float, rerank_rate: float
) -> list[list[int]]:
    """Returns ranked lists of document numbers, best first; newcomers get the next free numbers.

    Args:
        rng: Source of randomness.
        snapshots: Number of lists.
        documents: Length of every list.
        replacement_rate: Expected share of a list's documents that are new in it.
        rerank_rate: Expected share of the survivors that move, one after the other, to a random
            other rank.
    """
    ranked = list(range(documents))
    known = documents
    lists = [ranked]
    for _ in range(snapshots - 1):
        entering = int(rng.binomial(documents, replacement_rate))
        survivors = _reranked(rng, ranked[: documents - entering], rerank_rate)
        newcomers = range(known, known + entering)
        ranked = _with_newcomers(rng, survivors, newcomers)
        known += entering
        lists.append(ranked)
    return lists


def _reranked(rng: Generator, ranked: list[int], rate: float) -> list[int]:
    result = list(ranked)
    if len(result) > 1:
        moves = rng.random(len(ranked)) < rate
        for document, moved in zip(ranked, moves, strict=True):
            if moved:
                place = result.index(document)
                other = int(rng.integers(len(result) - 1))
                result.insert(other + (other >= place), result.pop(place))
    return result


def _with_newcomers(rng: Generator, survivors: list[int], newcomers: range) -> list[int]:
    # The scores of newcomers say nothing about those of survivors: every set of ranks is as likely.
    length = len(survivors) + len(newcomers)
    ranks = rng.choice(length, len(newcomers), replace=False).tolist()
    entered = dict(zip(ranks, newcomers, strict=True))
    behind = iter(survivors)
    return [entered[rank] if rank in entered else next(behind) for rank in range(length)]
