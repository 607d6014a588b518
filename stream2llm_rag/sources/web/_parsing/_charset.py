"""Bytes to text."""

__all__ = ["decoded"]

# A stray byte in a long page is an error in the page, many are an error in the charset.
_MAX_REPLACED = 0.001


def decoded(body: bytes, charset: str | None) -> str:
    """Decodes ``body`` by its byte order mark, the server's word, UTF-8, or a guess.

    Args:
        body: The bytes.
        charset: What the server says, which may be wrong or nonsense.
    """
    for name in filter(None, (_marked(body), charset, "utf-8")):
        try:
            text = body.decode(name, errors="replace")
        except (LookupError, ValueError):
            continue
        if text.count("\ufffd") <= len(text) * _MAX_REPLACED:
            return text.removeprefix("\ufeff")
    return _guessed(body)


def _marked(body: bytes) -> str | None:
    if body.startswith(b"\xef\xbb\xbf"):
        return "utf-8"
    return "utf-16" if body.startswith((b"\xff\xfe", b"\xfe\xff")) else None


def _guessed(body: bytes) -> str:
    import charset_normalizer

    best = charset_normalizer.from_bytes(body).best()
    return body.decode("utf-8", errors="replace") if best is None else str(best)
