"""Nested settings by dotted name, as reports and comparisons show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["flat", "parameters_text"]


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return what is not a mapping, each under the names of all mappings around it."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def parameters_text(parameters: Mapping[str, float | str]) -> str:
    """Return what a small measurement depends on, in one line."""
    return ", ".join(
        f"{name} {value if isinstance(value, str) else format(value, ',g')}"
        for name, value in parameters.items()
    )
