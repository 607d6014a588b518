"""Options that say whose request it is and how urgent, for models that share an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from stream2llm_engine.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.runnables import RunnableConfig

__all__ = ["scheduling_of", "without_scheduling"]

_CONFIG_KEY = "stream2llm"
_OPTIONS = frozenset({"tenant", "priority", "deadline_s"})


def scheduling_of(config: RunnableConfig) -> dict[str, Any]:
    """Returns the options in ``config["configurable"]["stream2llm"]``, if there are any.

    Raises:
        InvalidRequestError: There is something else, too.
    """
    options = dict(config.get("configurable", {}).get(_CONFIG_KEY, {}))
    if unknown := sorted(options.keys() - _OPTIONS):
        msg = (
            f"the configurable {_CONFIG_KEY!r} takes {sorted(_OPTIONS)}, not {unknown};"
            " bind other options to the model"
        )
        raise InvalidRequestError(msg)
    return options


def without_scheduling(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that mean something to a model which has no engine to share."""
    return {name: value for name, value in options.items() if name not in _OPTIONS}
