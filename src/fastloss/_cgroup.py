# SPDX-License-Identifier: BSD-3-Clause
"""The CPU time that the kernel allots to a container, of which neither OpenMP nor the process's affinity tells."""

from functools import cache
from pathlib import Path


@cache
def cpu_limit(root="/"):
    """CPUs that the control groups of this process allow, rounded up, or None. Read once."""
    limits = []
    for line in _read(Path(root, "proc/self/cgroup")).splitlines():
        # "0::/path" in version 2, "4:cpu,cpuacct:/path" in version 1.
        _, controllers, path = f"{line}::".split(":")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = Path(root, "sys/fs/cgroup", "cpu" if controllers else "")
        group = mount / path.lstrip("/")
        # A group is bound by those above it. In a container the path may be the host's; what is mounted is then its own.
        limits += [_limit(folder) for folder in (group, *group.parents) if folder.is_relative_to(mount)]
    return min((limit for limit in limits if limit), default=None)


def _limit(folder):
    """The limit of one group, or None."""
    text = _read(folder / "cpu.max") or _read(folder / "cpu.cfs_quota_us") + " " + _read(folder / "cpu.cfs_period_us")
    try:
        quota, period = map(int, text.split())
        return -(-quota // period) if quota > 0 else None
    except (ValueError, ZeroDivisionError):
        # "max", -1, or no such files.
        return None


def _read(path):
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
