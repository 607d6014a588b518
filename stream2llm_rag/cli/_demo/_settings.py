"""What one demo run does."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DemoSettings"]


class DemoSettings(BaseModel):
    """Size, pace and seed of a demo run.

    Attributes:
        users: Users who ask at the same time.
        questions: Questions of each user, one after the other.
        corpus: Documents in the index.
        documents: Documents retrieved for a question.
        pages: Events in which these arrive, as pages of a crawl.
        time_scale: Factor on the published crawl times.
        seed: Seed of corpus, questions and times.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    users: int = Field(default=6, ge=1)
    questions: int = Field(default=2, ge=1)
    corpus: int = Field(default=128, ge=2)
    documents: int = Field(default=40, ge=1)
    pages: int = Field(default=8, ge=1)
    time_scale: float = Field(default=0.4, ge=0)
    seed: int = 0

    def quick(self) -> "DemoSettings":
        """The same run, small enough for a test."""
        small = {"users": 2, "questions": 1, "corpus": 12, "documents": 4, "pages": 2}
        return self.model_copy(update={**small, "time_scale": 0.1})
