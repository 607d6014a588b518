"""What a robots.txt says."""

from functools import lru_cache

from protego import Protego

from stream2llm_rag.sources.web._parsing._messages import RobotsJob, Rules

__all__ = ["read_rules"]


def read_rules(job: RobotsJob, body: bytes) -> Rules:
    """Looks up what a robots.txt says about a URL."""
    rules = _parsed(body)
    return Rules(
        allowed=rules.can_fetch(job.url, job.user_agent),
        crawl_delay_s=rules.crawl_delay(job.user_agent) or 0.0,
    )


@lru_cache(maxsize=32)
def _parsed(body: bytes) -> Protego:
    return Protego.parse(body.decode("utf-8-sig", errors="replace"))
