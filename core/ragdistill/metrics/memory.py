"""The most memory that a piece of work takes at any moment."""

import ctypes
import gc
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MB = 1e6


def peak_memory(work: Callable[[], object]) -> dict[str, float | None]:
    """Do ``work`` once, and tell what it took at its peak, in MB (10^6 bytes).

    Returns:
        ``rise_mb``: main memory beyond what this process held before. What was loaded before (weights,
        say) is no part of it. ``gpu_mb``: all that torch held on the current CUDA device, weights too.
        None is what cannot be told: main memory anywhere but on Linux, a GPU that is not in use.
    """
    gc.collect()
    _give_back()
    before = _resident("VmRSS") if _forget_peak() else None
    if (cuda := _cuda()) is not None:
        cuda.reset_peak_memory_stats()
    work()
    cuda = _cuda()  # where work itself was the first to use it, its peak is the only one
    peak = _resident("VmHWM") if before is not None else None
    return {
        "rise_mb": max(0.0, peak - before) if peak is not None and before is not None else None,
        "gpu_mb": None if cuda is None else cuda.max_memory_allocated() / _MB,
    }


def _cuda() -> Any:
    """``torch.cuda`` where a device is in use; nothing is imported for it."""
    torch = sys.modules.get("torch")
    used = torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized()
    return torch.cuda if torch is not None and used else None


def _give_back() -> None:
    """Have the allocator return what is free: memory taken again from it would not count."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's own
        if trim is not None:
            trim(0)


def _forget_peak() -> bool:
    """Let the kernel begin a new peak (proc(5), clear_refs); False where it cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _resident(kind: str) -> float:
    """VmRSS or VmHWM of this process, in MB; the kernel says "kB" and means KiB."""
    told = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(rf"^{kind}:\s*(\d+) kB$", told, re.MULTILINE)
    return int(found[1]) * 1024 / _MB if found else 0.0
