"""The example of a user's own policy runs as it stands, and other programs can name the policy."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

from stream2llm_engine import EngineConfig
from stream2llm_engine.policies import RequestView, policy_path, resolve_policy
from tests.rag.cli.simulate.builders import report

EXAMPLE = Path(__file__).parents[2] / "examples" / "custom_policy.py"
PATH = "custom_policy:PaidPlansFirst"
ROW = re.compile(r"│ ([\w-]+) +│ (paid|free) │ +([\d.]+) │ +([\d.]+) │ +([\d.]+) │")


@pytest.fixture
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example's folder is on the import path, and the module is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(EXAMPLE.parent))
    monkeypatch.setitem(sys.modules, EXAMPLE.stem, ModuleType(EXAMPLE.stem))
    del sys.modules[EXAMPLE.stem]


def view(name: str, tenant: str, *, final: bool, remaining_s: float) -> RequestView:
    return RequestView(
        request_id=name,
        tenant=tenant,
        arrival_s=0.0,
        last_event_s=0.0,
        finalized=final,
        idle=remaining_s == 0.0,
        remaining_tokens=round(remaining_s * 1000),
        computed_tokens=0,
        remaining_s=remaining_s,
    )


def test_it_compares_policies_and_names_one_for_an_engine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    output = capsys.readouterr().out
    rows = {(name, plan): tuple(map(float, p)) for name, plan, *p in ROW.findall(output)}
    assert list(rows) == [
        (name, plan) for name in ("paid-plans-first", "srpt", "fcfs") for plan in ("paid", "free")
    ]
    for p50, p95, p99 in rows.values():
        assert 0 < p50 < p95 < p99
    paid, free = rows["paid-plans-first", "paid"], rows["paid-plans-first", "free"]
    assert paid[2] < min(free[2], rows["srpt", "paid"][2])
    assert output.endswith("policy of the engine: __main__:PaidPlansFirst\n")


@pytest.mark.usefixtures("importable")
def test_it_ranks_complete_then_paid_then_short_prompts() -> None:
    policy = resolve_policy(PATH)
    last_first = [
        view("idle", "tenant-1", final=False, remaining_s=0.0),
        view("open", "tenant-1", final=False, remaining_s=0.1),
        view("paid-idle", "tenant-0", final=False, remaining_s=0.0),
        view("paid-open", "tenant-0", final=False, remaining_s=0.1),
        view("long", "tenant-1", final=True, remaining_s=0.2),
        view("short", "tenant-1", final=True, remaining_s=0.1),
        view("paid", "tenant-0", final=True, remaining_s=2.0),
    ]
    assert sorted(last_first, key=policy.key) == last_first[::-1]


@pytest.mark.usefixtures("importable")
def test_other_programs_name_it_by_its_import_path(tmp_path: Path) -> None:
    assert policy_path(type(resolve_policy(PATH))) == PATH
    assert EngineConfig(model="any", policy=PATH).policy == PATH
    found = report(tmp_path / "out.json", "--policies", f"srpt,{PATH}", "--queries", "10")
    assert [run["policy"] for run in found["runs"]] == ["srpt", PATH]
