"""Policies by name, class or import path."""

from __future__ import annotations

import importlib

from stream2llm_engine.policies._base import Policy
from stream2llm_engine.policies._paper import (
    FirstComeFirstServed,
    LastChunkArrival,
    MostComputedPrefix,
)
from stream2llm_engine.policies._srpt import ShortestRemainingPrefill

__all__ = ["policy_names", "policy_path", "resolve_policy"]

_BUILT_IN: dict[str, type[Policy]] = {
    policy.name: policy
    for policy in (
        FirstComeFirstServed,
        LastChunkArrival,
        MostComputedPrefix,
        ShortestRemainingPrefill,
    )
}


def policy_names() -> list[str]:
    """Return the names of the built-in policies."""
    return sorted(_BUILT_IN)


def policy_path(policy: str | type[Policy]) -> str:
    """Return a text that :func:`resolve_policy` finds the policy by, in any process.

    Raises:
        ValueError: There is no such policy, or the class cannot be imported by name.
    """
    name = policy if isinstance(policy, str) else f"{policy.__module__}:{policy.__qualname__}"
    if isinstance(policy, type) and policy in _BUILT_IN.values():
        name = policy.name
    resolve_policy(name)
    return name


def resolve_policy(name: str) -> Policy:
    """Return a policy by the name of a built-in one or by ``"module:Class"``.

    Raises:
        ValueError: There is no policy of that name, or what the path leads to is none.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]()
    module, _, attribute = name.partition(":")
    if not attribute:
        msg = f"unknown policy {name!r}: choose one of {policy_names()}, or give 'module:Class'"
        raise ValueError(msg)
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        msg = (
            f"policy {name!r} cannot be imported: {error}; define the class at the top level of a "
            "module that is importable where the engine runs"
        )
        raise ValueError(msg) from error
    if not (isinstance(found, type) and issubclass(found, Policy)):
        msg = f"policy {name!r} is no subclass of stream2llm_engine.policies.Policy"
        raise ValueError(msg)  # noqa: TRY004 - one error for every name that is no policy
    return found()
