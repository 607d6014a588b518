"""A virtual clock that drives vLLM's real scheduler; no model runs."""

from stream2llm_engine.simulator.bound import idle_bound
from stream2llm_engine.simulator.outcome import SimulationOutcome, percentiles
from stream2llm_engine.simulator.queries import PromptEvent, SimulatedQuery
from stream2llm_engine.simulator.settings import BASELINES, SimulationSettings
from stream2llm_engine.simulator.virtual_engine import simulate

__all__ = [
    "BASELINES",
    "PromptEvent",
    "SimulatedQuery",
    "SimulationOutcome",
    "SimulationSettings",
    "idle_bound",
    "percentiles",
    "simulate",
]
