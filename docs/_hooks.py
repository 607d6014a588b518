# ruff: noqa: INP001 - a script of mkdocs, in no package
"""What mkdocs does besides: docstrings that use Sphinx roles read as plain code."""

import re

_ROLE = re.compile(r":(?:class|func|meth|mod|attr):<code>~?([\w.]+)</code>")


def on_page_content(html: str, **_: object) -> str:
    """Replaces ``:class:`~package.Name``` by ``Name`` in the page's HTML."""
    return _ROLE.sub(lambda role: f"<code>{role[1].rsplit('.', 1)[-1]}</code>", html)
