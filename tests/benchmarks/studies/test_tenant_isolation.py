"""The comparison of a flooded engine runs, on a load that takes seconds."""

from __future__ import annotations

from stream2llm_bench.studies.paper_runs import PROFILES, paper_settings
from stream2llm_bench.studies.tenant_isolation import FLOODER, TENANTS, compare, traffic
from stream2llm_profiles import load_profile


def test_the_flooder_sends_more_than_its_share_and_all_runs_are_told() -> None:
    nine, flood = traffic(3, seconds=10.0)
    assert len({query.tenant for query in nine}) <= TENANTS - 1
    assert {query.tenant for query in flood} == {FLOODER}
    assert len(flood) > len(nine)
    assert len({query.query_id for query in nine + flood}) == len(nine + flood)
    settings = paper_settings(load_profile(PROFILES["H200"]), "crawler", "srpt")
    figures = compare(3, settings, seconds=10.0)
    for name in ("alone", "fair", "unfair"):
        assert figures[name]["p99"] > 0.0
    assert figures["alone_flooder"]["p99"] is None
