"""Control groups: what Linux lets the processes of a container or a batch job use, and whether it killed some.

Read from the system's files below ``root``, of version 1 and 2, for the groups that this process is in.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/")
CPU_V1_MOUNTS = ("cpu", "cpu,cpuacct", "cpuacct,cpu")
"""Where version 1 has processors, if the list of mounts cannot be read."""


def cores(root: Path = ROOT) -> Iterator[float]:
    """How many cores' time each group may use; nothing of a group without a limit."""
    for folder in _folders(root, "cpu"):
        yield from _quota(_first_line(folder / "cpu.cfs_quota_us"), _first_line(folder / "cpu.cfs_period_us"))
    for folder in _folders(root, ""):
        yield from _quota(*_first_line(folder / "cpu.max").split()[:2])


def memory_left(root: Path = ROOT) -> Iterator[int]:
    """What each group leaves of its limit, in bytes; nothing of a group without a limit."""
    for folder in _folders(root, "memory"):
        yield from _left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_")
    for folder in _folders(root, ""):
        yield from _left(folder, "memory.max", "memory.current", "")


def memory_kills(root: Path = ROOT) -> int:
    """How many processes the system has killed so far because a group had used up its memory."""
    files = [folder / "memory.oom_control" for folder in _folders(root, "memory")]
    files += [folder / "memory.events" for folder in _folders(root, "")]
    return sum(int(count) for file in files if (count := _table(file).get("oom_kill", "0")).isdecimal())


def _folders(root: Path, controller: str) -> list[Path]:
    """The folders of this process's groups, from the outermost that is seen here down to its own: each counts.

    ``controller`` is one of version 1; ``""`` is version 2, which has one tree for all.
    """
    path = _path(root, controller)
    found: dict[Path, None] = {}
    for mount, top in _mounts(root, controller):
        found |= dict.fromkeys(_with_parents(mount, _below(path, top)))
    return list(found)


def _mounts(root: Path, controller: str) -> list[tuple[Path, str]]:
    """Where a controller's tree is mounted, and which group of it stands there."""
    try:
        lines = (root / "proc/self/mountinfo").read_text().splitlines()
    except (OSError, ValueError):
        lines = []
    mounts = []
    for line in lines:
        own, _, system = line.partition(" - ")
        kind, _, *options = system.split()
        is_it = controller in options[-1].split(",") if controller else True
        if kind == ("cgroup" if controller else "cgroup2") and is_it:
            top, place = own.split()[3:5]
            mounts.append((root / place.lstrip("/"), top))
    return mounts or _usual_mounts(root, controller)


def _usual_mounts(root: Path, controller: str) -> list[tuple[Path, str]]:
    names = {"": ("",), "cpu": CPU_V1_MOUNTS}.get(controller, (controller,))
    return [(root / "sys/fs/cgroup" / name, "/") for name in names]


def _path(root: Path, controller: str) -> str:
    """This process's path in a controller's tree."""
    try:
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controller in controllers.split(","):
                return path
    except (OSError, ValueError):
        pass
    return "/"


def _below(path: str, top: str) -> str:
    """A path as seen from the group ``top``: a container is told paths of the world outside."""
    return path.removeprefix(top) if path == top or path.startswith(f"{top.rstrip('/')}/") else path


def _with_parents(top: Path, path: str) -> Iterator[Path]:
    yield top
    for name in path.split("/"):
        if name == ".." or not top.is_dir():
            return
        if name:
            top = top / name
            yield top


def _quota(time: str = "", period: str = "") -> Iterator[float]:
    """Processor time over the period it is for; nothing if there is no limit ("max", or -1 in version 1)."""
    if time.isdecimal() and period.isdecimal() and int(period) > 0:
        yield int(time) / int(period)


def _left(folder: Path, limit: str, usage: str, prefix: str) -> Iterator[int]:
    try:
        left = int((folder / limit).read_text()) - int((folder / usage).read_text())
        stat = _table(folder / "memory.stat")
        # Cached files count as used but make room when asked to; active ones too, among
        # which are the weights that an earlier rank has mapped.
        cached = sum(int(stat.get(f"{prefix}{kind}_file", 0)) for kind in ("inactive", "active"))
        yield max(0, left + cached)
    except (OSError, ValueError):  # no such group, or its limit is "max"
        return


def _first_line(file: Path) -> str:
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return ""


def _table(file: Path) -> dict[str, str]:
    """A file with a name and a value in each line; none where there is no such file."""
    pairs = (line.partition(" ") for line in _first_line(file).splitlines())
    return {name: value.strip() for name, _, value in pairs}
