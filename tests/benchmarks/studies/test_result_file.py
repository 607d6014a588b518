"""Figures of a study say where they are from."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import TYPE_CHECKING

from stream2llm_bench.studies._result_file import add_json_option, write_figures

if TYPE_CHECKING:
    from pathlib import Path


def test_figures_carry_the_command_and_the_machine(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    parser = ArgumentParser()
    add_json_option(parser)
    write_figures(parser.parse_args(["--json", str(path)]).json, "reachable", {"runs": [1.5]})
    written = json.loads(path.read_text())
    assert written["runs"] == [1.5]
    assert written["command"].startswith("python -m stream2llm_bench.studies.reachable")
    assert written["environment"]["machine"]["cpus"] >= 1


def test_nothing_is_written_where_nobody_wants_it(tmp_path: Path) -> None:
    parser = ArgumentParser()
    add_json_option(parser)
    write_figures(parser.parse_args([]).json, "reachable", {"runs": []})
    assert not list(tmp_path.iterdir())
