"""Calls of the command on workloads of seconds."""

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from stream2llm_rag.cli.app import app

QUERIES = 30


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["simulate", *arguments], env={"COLUMNS": "160"})


def simulated(*arguments: str) -> Result:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result


def report(path: Path, *arguments: str) -> dict[str, Any]:
    simulated(*arguments, "--json", str(path))
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def assert_error(result: Result, *words: str) -> None:
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    message = " ".join(result.stderr.split())
    assert message.startswith("error: ")
    for word in words:
        assert word in message


def save_trace(path: Path, queries: int = 6, *, updates: bool = True) -> Path:
    """Writes queries whose last event moves the newest document to the front."""
    kind = "update" if updates else "append"
    lines = []
    for number in range(queries):
        first = [{"id": f"{number}-{name}", "tokens": 400} for name in "ab"]
        newest = {"id": f"{number}-c", "tokens": 300}
        events = [
            {"delay_s": 1.0, "kind": "append", "documents": first},
            {"delay_s": 0.5, "kind": kind, "documents": [newest, *(first if updates else [])]},
        ]
        tenant = f"team-{number % 2}"
        lines.append(json.dumps({"arrival_s": number * 0.5, "tenant": tenant, "events": events}))
    path.write_text("\n".join(lines))
    return path
