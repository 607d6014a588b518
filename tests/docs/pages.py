"""The pages under docs/ as programs: their Python blocks in order, in one namespace each."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stream2llm_engine import StreamEngine

if TYPE_CHECKING:
    from types import CodeType

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
RUN_ELSEWHERE = {"policies.md", "simulator.md"}
"""Pages whose code tests/examples/test_docs.py runs, because it needs files beside it."""

_FENCE = re.compile(
    r"^(?:<!--(?P<note>[^>]*)-->\n)?```(?P<language>\w+)\n(?P<code>.*?)^```$"
    r"(?:\n\n```text\n(?P<output>.*?)^```$)?",
    flags=re.MULTILINE | re.DOTALL,
)
_NOT_RUN = re.compile(r"not run(?: here)?: (.+)")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block.

    Attributes:
        page: Path of its page below docs/.
        line: Line of the page at which it starts.
        language: What stands behind the fence.
        code: Its text.
        output: What the page says that it prints; None where the page says nothing.
        not_run: Why it is compiled only; None where it runs.
    """

    page: str
    line: int
    language: str
    code: str
    output: str | None
    not_run: str | None

    def compiled(self, code: str | None = None) -> CodeType:
        """Compiles the block, or ``code`` in its place, with ``await`` at the top level allowed."""
        text = "\n" * self.line + (self.code if code is None else code)
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        compiled: CodeType = compile(text, f"docs/{self.page}", "exec", flags, dont_inherit=True)
        return compiled


def pages() -> list[str]:
    """Paths of all pages, below docs/."""
    return sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))


def blocks(page: str, *languages: str) -> list[Block]:
    """The page's blocks in one of the languages."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, found.start("code")),
            language=found["language"],
            code=found["code"],
            output=found["output"],
            not_run=_reason(found["note"]),
        )
        for found in _FENCE.finditer(text)
        if found["language"] in languages
    ]


def programs(*, engine: bool) -> list[str]:
    """The pages whose code runs here, with or without an engine."""
    return [
        page
        for page in pages()
        if page not in RUN_ELSEWHERE
        and (code := [block.code for block in blocks(page, "python") if block.not_run is None])
        and any("StreamEngine(" in text for text in code) is engine
    ]


def after(diff: Block) -> str:
    """What a diff leads to."""
    return "\n".join(line[1:] for line in diff.code.splitlines() if not line.startswith("-"))


def before(diff: Block) -> str:
    """What a diff starts from."""
    return "\n".join(line[1:] for line in diff.code.splitlines() if not line.startswith("+"))


def run(page: str, shared: StreamEngine | None = None) -> None:
    """Runs a page; of a diff what it leads to.

    Args:
        page: The page.
        shared: Takes the place of the engine that the page makes, because a process runs one. It
            has the same configuration.
    """
    names: dict[str, Any] = {"__name__": "docs"}
    with asyncio.Runner() as runner:
        for block in blocks(page, "python", "diff"):
            if block.not_run is not None:
                continue
            printed = _printed(runner, block, names)
            if block.output is not None and printed.rstrip() != block.output.rstrip():
                msg = f"docs/{page}:{block.line} prints\n{printed}"
                raise AssertionError(msg)
            made = names.get("engine")
            if isinstance(made, StreamEngine) and made is not shared:
                assert shared is not None
                assert made.config == shared.config
                names["engine"] = shared


def _printed(runner: asyncio.Runner, block: Block, names: dict[str, Any]) -> str:
    code = block.compiled(after(block) if block.language == "diff" else None)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        result = eval(code, names)
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(result)
    return output.getvalue()


def _reason(note: str | None) -> str | None:
    found = _NOT_RUN.search(note or "")
    return found[1].strip() if found else None
