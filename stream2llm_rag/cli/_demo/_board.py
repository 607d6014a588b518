"""The live view: what every user is waiting for."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

__all__ = ["Board"]


class Board:
    """One row per user. Without a terminal, finished answers are printed line by line instead.

    Args:
        console: Where to show it.
        users: How many rows.
        questions: How many answers there will be in each mode.
    """

    def __init__(self, console: Console, users: int, questions: int) -> None:
        self._console = console
        self._rows = [("", "") for _ in range(users)]
        self._questions = questions
        self._answered = 0
        self._title = ""

    @contextmanager
    def mode(self, title: str) -> Iterator[None]:
        """Shows the board while the users of one mode are served."""
        self._title = title
        self._answered = 0
        self._rows = [("", "") for _ in self._rows]
        if not self._console.is_terminal:
            self._console.print(f"[bold]{title}[/]")
            yield
            return
        with Live(get_renderable=self._table, console=self._console, refresh_per_second=8):
            yield

    def show(self, user: int, question: str, state: str) -> None:
        """Says what a user is waiting for."""
        self._rows[user] = (question, state)

    def done(self, user: int, question: str, answer: str) -> None:
        """Shows a finished answer."""
        self._answered += 1
        self._rows[user] = (question, f"[green]{escape(answer)}[/]")
        if not self._console.is_terminal:
            self._console.print(f"  user {user + 1}: {escape(question)} {escape(answer)}")

    def _table(self) -> Table:
        title = f"{self._title}  [dim]{self._answered} of {self._questions} answered[/]"
        table = Table(title=title, title_justify="left", expand=True)
        table.add_column("User", width=4)
        table.add_column("Question", ratio=2)
        table.add_column("State", ratio=3)
        for user, (question, state) in enumerate(self._rows, start=1):
            table.add_row(str(user), escape(question), state)
        return table
