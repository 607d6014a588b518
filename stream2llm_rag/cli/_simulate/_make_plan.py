"""From options to a plan; whatever is wrong with them is said here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from stream2llm_engine.policies import policy_names, policy_path
from stream2llm_engine.preemption import PreemptionMode
from stream2llm_engine.simulator import BASELINES, SimulationSettings
from stream2llm_profiles import HardwareProfile, ProfileFileError, load_profile
from stream2llm_rag.cli._simulate._engine_options import EngineOptions
from stream2llm_rag.cli._simulate._plan import Plan
from stream2llm_rag.cli._simulate._workload import (
    Generated,
    QuerySource,
    Recorded,
    RecordedKnobs,
)
from stream2llm_rag.cli.errors import CommandError
from stream2llm_rag.cli.options import checked, chosen, comma_list
from stream2llm_rag.prompt import DocumentOrder
from stream2llm_rag.workloads import AnnsWorkload, CrawlerWorkload, Workload

__all__ = ["Lists", "make_plan"]

_GENERATED: dict[str, type[Workload]] = {"crawler": CrawlerWorkload, "anns": AnnsWorkload}
_DEFAULT_QPS = {"crawler": 4.0, "anns": 2.0}
# Those of the Stream2LLM paper; a trace file is taken for a crawl.
_TOKEN_BUDGETS = {"crawler": 2048, "anns": 8192}
_ONLY_GENERATED = {"tenants": "--tenants", "arrival_cv": "--burstiness"}
_ONLY_ANNS = {
    "documents_per_snapshot": "--documents",
    "replacement_rate": "--replacement-rate",
    "rerank_rate": "--rerank-rate",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lists:
    """The options that take several values, as they were typed."""

    policies: str
    preemption: str
    order: str
    seed: str


def make_plan(
    workload: str,
    knobs: dict[str, Any],
    lists: Lists,
    *,
    profile: str,
    engine: dict[str, Any],
    prefix_caching: bool,
) -> Plan:
    """Checks all options of a simulation.

    Args:
        workload: Name of a workload or path of a trace file.
        knobs: Fields of the workload; ``None`` where the option was not given.
        lists: What is compared.
        profile: Name or path of a hardware profile.
        engine: Fields of :class:`EngineOptions`; ``None`` where the option was not given.
        prefix_caching: Whether vLLM's prefix cache is on.

    Raises:
        CommandError: An option is wrong; the message says what it may be.
        ContextSourceError: The trace file is not one.
    """
    policies = [_policy(name) for name in comma_list(lists.policies, "--policies")]
    preemptions = chosen(lists.preemption, _supported_preemptions(), "--preemption")
    orders = chosen(lists.order, get_args(DocumentOrder), "--order")
    seeds = [_seed(text) for text in comma_list(lists.seed, "--seed")]
    settings = _settings(workload, profile, engine, prefix_caching=prefix_caching)
    source = _source(workload, knobs)
    if not source.seeded and len(seeds) > 1:
        msg = f"--seed changes nothing about the trace file {workload}: leave it out"
        raise CommandError(msg)
    return Plan(
        source=source,
        settings=settings,
        policies=policies,
        preemptions=preemptions,
        orders=[order for order in get_args(DocumentOrder) if order in orders]
        if source.ordered
        else [None],
        seeds=[*seeds] if source.seeded else [None],
    )


def _source(workload: str, knobs: dict[str, Any]) -> QuerySource:
    if workload != "anns":
        _refuse(knobs, _ONLY_ANNS, "applies to --workload anns only")
    if workload in _GENERATED:
        if knobs["qps"] is None:
            knobs = {**knobs, "qps": _DEFAULT_QPS[workload]}
        return Generated(workload, checked(_GENERATED[workload], knobs))
    if not Path(workload).is_file():
        msg = (
            f"unknown workload {workload!r}: choose from {', '.join(_GENERATED)}, or give the path"
            " of a trace file"
        )
        raise CommandError(msg)
    _refuse(knobs, _ONLY_GENERATED, "does not apply to a trace file, which has its own")
    return Recorded(Path(workload), checked(RecordedKnobs, knobs))


def _refuse(knobs: dict[str, Any], options: dict[str, str], reason: str) -> None:
    for field, option in options.items():
        if knobs[field] is not None:
            msg = f"{option} {reason}"
            raise CommandError(msg)


def _settings(
    workload: str, profile: str, options: dict[str, Any], *, prefix_caching: bool
) -> SimulationSettings:
    if options["token_budget"] is None:
        options = {
            **options,
            "token_budget": _TOKEN_BUDGETS.get(workload, _TOKEN_BUDGETS["crawler"]),
        }
    sizes = checked(EngineOptions, options)
    settings = SimulationSettings(
        profile=_profile(profile), prefix_caching=prefix_caching, **sizes.model_dump()
    )
    if settings.pool_blocks < 1:
        msg = f"--pool-tokens must be at least --block-size, {sizes.block_size}"
        raise CommandError(msg)
    return settings


def _profile(name: str) -> HardwareProfile:
    try:
        return load_profile(name)
    except ProfileFileError as error:
        raise CommandError(str(error)) from error


def _policy(name: str) -> str:
    if name in BASELINES:
        return name
    try:
        return policy_path(name)
    except ValueError as error:
        if ":" in name:
            raise CommandError(str(error)) from error
        choices = ", ".join((*BASELINES, *policy_names()))
        msg = f"unknown policy {name!r}: choose from {choices}, or give 'module:Class'"
        raise CommandError(msg) from error


def _supported_preemptions() -> tuple[str, ...]:
    return get_args(PreemptionMode)


def _seed(text: str) -> int:
    if not text.isdecimal():
        msg = f"--seed does not support {text!r}: give integers of at least 0"
        raise CommandError(msg)
    return int(text)
