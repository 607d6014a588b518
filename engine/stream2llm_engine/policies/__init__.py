"""Policies: the order in which requests get tokens and KV blocks. Pure Python, no vLLM."""

from stream2llm_engine.policies._base import Policy, RequestView
from stream2llm_engine.policies._paper import (
    FirstComeFirstServed,
    LastChunkArrival,
    MostComputedPrefix,
)
from stream2llm_engine.policies._registry import policy_names, policy_path, resolve_policy
from stream2llm_engine.policies._srpt import ShortestRemainingPrefill

__all__ = [
    "FirstComeFirstServed",
    "LastChunkArrival",
    "MostComputedPrefix",
    "Policy",
    "RequestView",
    "ShortestRemainingPrefill",
    "policy_names",
    "policy_path",
    "resolve_policy",
]
