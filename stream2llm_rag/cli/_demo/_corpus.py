"""The shipped corpus in embedded Qdrant, and questions about it."""

import random
from pathlib import Path

from qdrant_stream2llm import EdgeSource, Stage
from stream2llm_rag.cli._demo._settings import DemoSettings
from stream2llm_rag.documents import Document
from stream2llm_rag.ingest import MiniLM
from stream2llm_rag.reader import Fact, World

__all__ = ["Corpus"]


class Corpus:
    """A world of invented places, none of which the reader saw in training.

    Args:
        settings: Size and seed.
        directory: Where the index goes; it must not hold one yet.
    """

    def __init__(self, settings: DemoSettings, directory: Path) -> None:
        world = World(seed=settings.seed, entities=settings.corpus, fillers=(1, 4))
        documents = [
            Document(id=page.id, text=page.text, metadata={"title": page.title})
            for page in world.documents
        ]
        self.index = EdgeSource.create(
            directory / "index", documents, MiniLM(), [Stage(limit=settings.documents)]
        )
        rng = random.Random(f"questions-{settings.seed}")
        facts = rng.sample(world.facts, settings.users * settings.questions)
        self.questions: list[list[Fact]] = [
            facts[user :: settings.users] for user in range(settings.users)
        ]
