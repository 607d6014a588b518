"""The options of the command, each with its type and its help text."""

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

__all__ = [
    "BlockSize",
    "Burstiness",
    "Delay",
    "Documents",
    "FindTenants",
    "Json",
    "Order",
    "Plots",
    "Policies",
    "PoolTokens",
    "Preemption",
    "PrefixCaching",
    "Profile",
    "Qps",
    "Queries",
    "ReplacementRate",
    "RerankRate",
    "Seed",
    "SloP95",
    "SloP99",
    "TenantQps",
    "Tenants",
    "TokenBudget",
    "WorkloadName",
]

_WORKLOAD = "Workload"
_ENGINE = "Engine"
_CAPACITY = "Capacity planning"

WorkloadName: TypeAlias = Annotated[
    str,
    typer.Option(
        "--workload",
        metavar="crawler|anns|FILE",
        help="What is simulated: pages that are appended (crawler), ranked lists that replace each"
        " other (anns), or a trace file in JSON Lines.",
        rich_help_panel=_WORKLOAD,
    ),
]
Qps: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Queries a second. A trace file is stretched to this rate."
        " Default: 4 for crawler, 2 for anns, a trace file's own.",
        rich_help_panel=_WORKLOAD,
    ),
]
Queries: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Number of queries; of a trace file the first ones."
        " Default: 4309 for crawler, 500 for anns, all of a trace file.",
        rich_help_panel=_WORKLOAD,
    ),
]
Order: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="stable|rank[,...]",
        help="Where documents stand in the prompt: stable keeps those that are there in place,"
        " rank follows the ranking. Only matters where lists are replaced.",
        rich_help_panel=_WORKLOAD,
    ),
]
Delay: TypeAlias = Annotated[
    float,
    typer.Option(help="Factor on every delay of a query.", rich_help_panel=_WORKLOAD),
]
Seed: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="N[,...]",
        help="Seed of the workload. Several are simulated one after the other, and the table shows"
        " their median and range.",
        rich_help_panel=_WORKLOAD,
    ),
]
Tenants: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Tenants that the queries are assigned to at random. Default: 1, a trace file's own.",
        rich_help_panel=_WORKLOAD,
    ),
]
Burstiness: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Coefficient of variation of the gaps between arrivals: 1 is Poisson, more comes in"
        " bursts. Default: 1, a trace file's own.",
        rich_help_panel=_WORKLOAD,
    ),
]
Documents: TypeAlias = Annotated[
    int | None,
    typer.Option(help="anns: documents in a ranked list. Default: 10.", rich_help_panel=_WORKLOAD),
]
ReplacementRate: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="anns: share of a list's documents that are new in it. Default: 0.03.",
        rich_help_panel=_WORKLOAD,
    ),
]
RerankRate: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="anns: share of the surviving documents that change rank. Default: 0.06.",
        rich_help_panel=_WORKLOAD,
    ),
]

Policies: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME[,...]",
        help="Policies to compare: fcfs, lcas, mcps, srpt or an importable 'module:Class'; and the"
        " baselines blocking (nothing is sent before the context is final) and stock (streaming"
        " under vLLM's own order and preemption).",
        rich_help_panel=_ENGINE,
    ),
]
Preemption: TypeAlias = Annotated[
    str,
    typer.Option(
        metavar="NAME[,...]",
        help="What happens to the KV of a victim. Baselines have vLLM's own and are run once.",
        rich_help_panel=_ENGINE,
    ),
]
Profile: TypeAlias = Annotated[
    str,
    typer.Option(
        help="Hardware: the name of a shipped profile or the path of a profile's JSON file.",
        rich_help_panel=_ENGINE,
    ),
]
TokenBudget: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Tokens that one step may compute."
        " Default: 8192 for anns, else 2048, as in the Stream2LLM paper.",
        rich_help_panel=_ENGINE,
    ),
]
BlockSize: TypeAlias = Annotated[
    int, typer.Option(help="Tokens of a KV block.", rich_help_panel=_ENGINE)
]
PoolTokens: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Tokens that the KV pool holds. Default: the profile's.", rich_help_panel=_ENGINE
    ),
]
PrefixCaching: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--prefix-caching/--no-prefix-caching",
        help="vLLM's prefix cache. Off is the setting of the Stream2LLM paper.",
        rich_help_panel=_ENGINE,
    ),
]

FindTenants: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--find-tenants",
        help="Find how many tenants each policy can serve within the limits: their number is"
        " doubled, then bisected. Takes a simulation for every number tried.",
        rich_help_panel=_CAPACITY,
    ),
]
TenantQps: TypeAlias = Annotated[
    float | None,
    typer.Option(help="Queries a second of each tenant. Default: 0.05.", rich_help_panel=_CAPACITY),
]
SloP99: TypeAlias = Annotated[
    float | None,
    typer.Option(
        "--slo-p99",
        help="Limit in seconds on the P99 of the time from final context to first token.",
        rich_help_panel=_CAPACITY,
    ),
]
SloP95: TypeAlias = Annotated[
    float | None,
    typer.Option("--slo-p95", help="Limit on the P95.", rich_help_panel=_CAPACITY),
]

Json: TypeAlias = Annotated[
    Path | None, typer.Option("--json", help="File for all figures, as JSON.")
]
Plots: TypeAlias = Annotated[
    Path | None, typer.Option("--plots", help="Folder for pictures, as PNG.")
]
