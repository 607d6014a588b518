"""Pictures show what the file has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from stream2llm_bench.report.plots import loads, plot_ccdf, plot_loads
from stream2llm_bench.report.timeline import Kind, TimelineRow, timeline, timeline_rows
from tests.benchmarks.builders import FACTORS, IDLE, QUERIES, SEEDS, results, scenario, trace_waits

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were saved."""
    saved: list[Figure] = []
    save = Figure.savefig

    def savefig(self: Figure, *arguments: Any, **options: Any) -> None:
        saved.append(self)
        save(self, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return saved


def test_every_system_and_the_bound_have_a_line(figures: list[Figure], tmp_path: Path) -> None:
    path = plot_ccdf(results(), "crawler-high", tmp_path / "ccdf.png")
    assert path.exists()
    (axis,) = figures[0].axes
    lines = {line.get_label(): line for line in axis.get_lines()}
    assert set(lines) == {*FACTORS, "idle machine"}
    waits = sorted(IDLE * wait for seed in SEEDS for wait in trace_waits(seed))
    assert np.asarray(lines["idle machine"].get_xdata()) == pytest.approx(waits)
    shares = np.asarray(lines["srpt"].get_ydata())
    assert shares[0] == 1.0
    assert shares[-1] == pytest.approx(1.0 / (len(SEEDS) * QUERIES))
    assert len({line.get_color() for line in axis.get_lines()}) == len(lines)
    assert (axis.get_xscale(), axis.get_yscale()) == ("log", "log")


def test_scenarios_that_differ_in_more_than_load_are_no_curve() -> None:
    found = loads(results())
    assert {name: [one.name for one in some] for name, some in found.items()} == {
        "crawler": ["crawler-low", "crawler-high"]
    }
    assert loads(results(scenarios=[scenario("crawler-high")])) == {}


def test_percentiles_over_load(figures: list[Figure], tmp_path: Path) -> None:
    file = results()
    plot_loads(file, loads(file)["crawler"], tmp_path / "load.png")
    assert [axis.get_title(loc="left") for axis in figures[0].axes] == ["P50", "P99"]
    for axis in figures[0].axes:
        _, labels = axis.get_legend_handles_labels()
        assert labels == ["blocking", "warmup", "streaming_input", "srpt"]


def test_a_timeline_has_a_lane_for_each_system(figures: list[Figure], tmp_path: Path) -> None:
    kinds: tuple[Kind, ...] = ("retrieve", "prefill", "wait", "answer")
    rows = [
        TimelineRow(system=system, label="page", start_s=start, end_s=start + 1.0, kind=kind)
        for system in ("blocking", "srpt")
        for start, kind in enumerate(kinds)
    ]
    assert timeline(rows, tmp_path / "timeline.png").exists()
    (axis,) = figures[0].axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["blocking", "srpt"]
    assert len(axis.collections) == len(rows)
    assert len(axis.texts) == len(rows)


def test_a_timeline_without_rows_is_empty(tmp_path: Path) -> None:
    assert timeline([], tmp_path / "timeline.png").exists()


def test_rows_of_a_request() -> None:
    found = [(r.kind, r.start_s, r.end_s) for r in timeline_rows(results().timelines)]
    assert found == [
        ("retrieve", 0.0, 0.5),
        ("retrieve", 0.5, 1.2),
        ("retrieve", 1.2, 2.0),
        ("prefill", 0.5, 0.8),
        ("prefill", 1.2, 1.5),
        ("wait", 2.0, 2.1),
        ("answer", 2.1, 2.1),
    ]
