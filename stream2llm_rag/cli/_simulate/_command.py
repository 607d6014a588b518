"""``stream2llm simulate``: vLLM's real scheduler under a virtual clock."""

import os
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from stream2llm_rag.cli._model import quiet_engine
from stream2llm_rag.cli._simulate import _options as option
from stream2llm_rag.cli._simulate._capacity import Goal, find_capacity
from stream2llm_rag.cli._simulate._capacity_table import print_capacity
from stream2llm_rag.cli._simulate._make_plan import Lists, make_plan
from stream2llm_rag.cli._simulate._plan import Plan
from stream2llm_rag.cli._simulate._plots import save_capacity, save_ccdf
from stream2llm_rag.cli._simulate._report import save_report
from stream2llm_rag.cli._simulate._run import run_plan
from stream2llm_rag.cli._simulate._tables import print_runs
from stream2llm_rag.cli.errors import CommandError, friendly_errors, require_extras
from stream2llm_rag.cli.options import checked, command_line, writable

__all__ = ["simulate"]

_FILE_WIDTH = 160


@friendly_errors
def simulate(
    context: typer.Context,
    workload: option.WorkloadName = "crawler",
    qps: option.Qps = None,
    queries: option.Queries = None,
    order: option.Order = "stable",
    delay: option.Delay = 1.0,
    seed: option.Seed = "0",
    tenants: option.Tenants = None,
    burstiness: option.Burstiness = None,
    documents: option.Documents = None,
    replacement_rate: option.ReplacementRate = None,
    rerank_rate: option.RerankRate = None,
    policies: option.Policies = "blocking,stock,fcfs,lcas,mcps,srpt",
    preemption: option.Preemption = "recompute",
    profile: option.Profile = "h200-tp2-llama-3.1-8b",
    token_budget: option.TokenBudget = None,
    block_size: option.BlockSize = 16,
    pool_tokens: option.PoolTokens = None,
    *,
    prefix_caching: option.PrefixCaching = False,
    find_tenants: option.FindTenants = False,
    tenant_qps: option.TenantQps = None,
    slo_p99: option.SloP99 = None,
    slo_p95: option.SloP95 = None,
    json: option.Json = None,
    plots: option.Plots = None,
) -> None:
    """Compare scheduling policies on a simulated engine.

    vLLM's real scheduler and KV cache manager run under a virtual clock; no model runs, and the
    duration of a step comes from a hardware profile.
    """
    require_extras("vllm", *(["matplotlib"] if plots else []))
    quiet_engine()
    limits = {"tenant_qps": tenant_qps, "slo_p95": slo_p95, "slo_p99": slo_p99}
    goal = _goal(limits, {"--qps": qps, "--tenants": tenants}, find_tenants=find_tenants)
    knobs = {
        "queries": queries,
        "qps": qps,
        "delay_multiplier": delay,
        "tenants": tenants,
        "arrival_cv": burstiness,
        "documents_per_snapshot": documents,
        "replacement_rate": replacement_rate,
        "rerank_rate": rerank_rate,
    }
    plan = make_plan(
        workload,
        knobs,
        Lists(policies=policies, preemption=preemption, order=order, seed=seed),
        profile=profile,
        engine={
            "token_budget": token_budget,
            "block_size": block_size,
            "pool_tokens": pool_tokens,
        },
        prefix_caching=prefix_caching,
    )
    report = writable(json, folder=False) if json else None
    pictures = writable(plots, folder=True) if plots else None
    if goal is None:
        _compare(plan, command_line(context), report, pictures)
    else:
        _find_tenants(plan, goal, command_line(context), report, pictures)


def _goal(
    limits: dict[str, float | None], rates: dict[str, Any], *, find_tenants: bool
) -> Goal | None:
    if not find_tenants:
        if any(value is not None for value in limits.values()):
            msg = "--tenant-qps, --slo-p95 and --slo-p99 only apply with --find-tenants"
            raise CommandError(msg)
        return None
    for name, value in rates.items():
        if value is not None:
            msg = f"{name} does not apply with --find-tenants, which varies it: use --tenant-qps"
            raise CommandError(msg)
    goal = checked(Goal, limits)
    if not goal.limits():
        msg = "--find-tenants needs a limit: give --slo-p99 or --slo-p95, in seconds"
        raise CommandError(msg)
    return goal


def _compare(plan: Plan, command: str, report: Path | None, pictures: Path | None) -> None:
    measured = run_plan(plan, _progress_console())
    console = _console()
    print_runs(console, plan, measured)
    written: list[Path] = []
    if report:
        save_report(report, plan, command, runs=measured)
        written.append(report)
    if pictures:
        written.append(save_ccdf(plan, measured, pictures))
    _say_written(console, written)


def _find_tenants(
    plan: Plan, goal: Goal, command: str, report: Path | None, pictures: Path | None
) -> None:
    found = find_capacity(plan, goal, _progress_console())
    console = _console()
    print_capacity(console, plan, found)
    written: list[Path] = []
    if report:
        save_report(report, plan, command, capacity=found)
        written.append(report)
    if pictures:
        written.append(save_capacity(plan, found, pictures))
    _say_written(console, written)


def _console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _FILE_WIDTH
    return console


def _progress_console() -> Console:
    return Console(stderr=True, highlight=False)


def _say_written(console: Console, written: list[Path]) -> None:
    if written:
        console.print(f"Written: {', '.join(map(str, written))}", soft_wrap=True)
