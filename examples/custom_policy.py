"""A policy of your own: paid plans first, then the shortest remaining prefill.

Run it with ``python examples/custom_policy.py``. Other programs name the policy by its import path,
with this folder on theirs: ``PYTHONPATH=examples stream2llm simulate --queries 200 --tenants 4
--policies srpt,custom_policy:PaidPlansFirst``.
"""

from math import inf

from rich.console import Console
from rich.table import Table

from stream2llm_engine import EngineConfig
from stream2llm_engine.policies import (
    Policy,
    RequestView,
    ShortestRemainingPrefill,
    policy_path,
)
from stream2llm_engine.simulator import (
    SimulatedQuery,
    SimulationSettings,
    percentiles,
    simulate,
)
from stream2llm_profiles import load_profile
from stream2llm_rag.reader import reader_model
from stream2llm_rag.workloads import CrawlerWorkload

PAID = frozenset({"tenant-0"})


# At the top level of a module, because the engine imports a policy by its path.
class PaidPlansFirst(ShortestRemainingPrefill):
    """Complete prompts before open ones, paid before free, and the shortest first.

    Nothing ages here: while paid prompts keep the engine busy, free ones wait. How long steps are
    and who gives up memory stays as it is under ``srpt``.
    """

    name = "paid-plans-first"
    # Or the tenants would take turns, paid or not.
    fair_share = False

    def key(self, request: RequestView) -> tuple[float, ...]:
        """Return ``(open?, free plan?, seconds of prefill left)``."""
        return (
            0.0 if request.finalized else 1.0,
            0.0 if request.tenant in PAID else 1.0,
            # Nothing left to compute must not mean first rank: nobody could take its blocks then.
            inf if request.idle else request.remaining_s,
        )


def compare(queries: list[SimulatedQuery], policies: list[str | type[Policy]]) -> Table:
    """Simulates the queries under each policy and shows what both plans wait for first tokens."""
    table = Table("policy", "plan", title="Simulated seconds from final context to first token")
    for heading in ("P50", "P95", "P99"):
        table.add_column(heading, justify="right")
    profile = load_profile("h200-tp2-llama-3.1-8b")
    for policy in policies:
        settings = SimulationSettings(profile=profile, policy=policy_path(policy))
        outcome = simulate(queries, settings)
        name = policy if isinstance(policy, str) else policy.name
        for plan, paid in (("paid", True), ("free", False)):
            waits = percentiles(
                [
                    seconds
                    for query_id, seconds in outcome.ttft_from_final_s.items()
                    if (outcome.tenants[query_id] in PAID) is paid
                ]
            )
            table.add_row(name, plan, *(f"{waits[each]:.3f}" for each in ("p50", "p95", "p99")))
    return table


def main() -> None:
    """Compares policies on a simulated engine, then names one for a real engine."""
    queries = CrawlerWorkload(queries=200, qps=4, tenants=4).generate(seed=0)
    Console().print(compare(queries, [PaidPlansFirst, "srpt", "fcfs"]))

    # What StreamEngine takes; nothing is started here.
    config = EngineConfig(model=str(reader_model()), policy=PaidPlansFirst)
    print(f"policy of the engine: {config.policy}")


if __name__ == "__main__":
    main()
