"""What answers may have to be."""

from typing import Literal

from pydantic import BaseModel, Field


class Trip(BaseModel):
    """Book a trip."""

    place: str = Field(description="where to")
    days: int
    kind: Literal["work", "fun"]
    company: list[str] | None = None


class Stay(BaseModel):
    """Stay at home."""

    reason: Literal["rain", "snow"]
