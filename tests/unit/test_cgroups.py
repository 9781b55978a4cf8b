"""Control groups of both versions, seen from inside and outside of containers."""

from __future__ import annotations

import pytest

from nbkit.files import cgroups, machine
from nbkit.runtime.launchers.processes import how_it_ended

V2 = "30 23 0:26 {top} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
V1 = "32 31 0:29 {top} /sys/fs/cgroup/{name} rw,relatime - cgroup cgroup rw,{controllers}"


def system(root, groups: str, mounts: str) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    (root / "proc/self/mountinfo").write_text(f"22 1 0:21 / / rw - ext4 /dev/vda rw\n{mounts}\n")


def group(root, path: str, **files: str) -> None:
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def test_a_quota_below_a_containers_own_group_counts_though_its_path_is_one_of_the_world_outside(tmp_path):
    system(tmp_path, "0::/docker/abc/job\n", V2.format(top="/docker/abc"))
    group(tmp_path, "", cpu__max="max 100000")
    group(tmp_path, "job", cpu__max="150000 100000")
    assert list(cgroups.cores(tmp_path)) == [1.5]
    assert machine.usable_cores(tmp_path) <= 2


def test_a_tree_that_is_mounted_elsewhere_is_found(tmp_path):
    system(
        tmp_path,
        "5:cpuacct,cpu:/batch\n0::/\n",
        V1.format(top="/", name="processors", controllers="cpu,cpuacct")
        + "\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
    )
    group(tmp_path, "processors/batch", cpu__cfs_quota_us="300000", cpu__cfs_period_us="100000")
    group(tmp_path, "unified", cpu__max="200000 100000")
    assert sorted(cgroups.cores(tmp_path)) == [2.0, 3.0]


@pytest.mark.parametrize(
    ("groups", "mounts", "path", "file"),
    [
        ("0::/job\n", V2.format(top="/"), "job", "memory__events"),
        ("0::/a/job\n", V2.format(top="/a"), "job", "memory__events"),
        (
            "4:memory:/job\n",
            V1.format(top="/", name="memory", controllers="memory"),
            "memory/job",
            "memory__oom_control",
        ),
    ],
)
def test_processes_killed_for_want_of_memory_are_counted(tmp_path, groups, mounts, path, file):
    system(tmp_path, groups, mounts)
    assert cgroups.memory_kills(tmp_path) == 0
    group(tmp_path, path, **{file: "oom_kill_disable 0\noom 7\noom_kill 2"})
    assert cgroups.memory_kills(tmp_path) == 2


def test_without_control_groups_nothing_is_limited(tmp_path):
    assert list(cgroups.cores(tmp_path)) == []
    assert list(cgroups.memory_left(tmp_path)) == []
    assert cgroups.memory_kills(tmp_path) == 0


def test_a_kill_is_put_down_to_memory_only_where_that_is_known():
    assert "may use was used up" in how_it_ended(-9, has_killed_for_memory=True)
    assert "if nobody did that on purpose" in how_it_ended(-9)
    assert how_it_ended(-15, has_killed_for_memory=True) == "was ended by SIGTERM"
