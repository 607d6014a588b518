"""Sizes of the simulated engine."""

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EngineOptions"]


class EngineOptions(BaseModel):
    """Sizes of the simulated engine; ``None`` leaves the pool to the profile."""

    model_config = ConfigDict(frozen=True)

    token_budget: int = Field(ge=1)
    block_size: int = Field(ge=1)
    pool_tokens: int | None = Field(default=None, ge=1)
