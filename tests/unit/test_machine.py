from __future__ import annotations

import json
import os
import subprocess
import sys

import psutil
import pytest

import nbkit
from nbkit.files import machine


def test_a_description_is_plain_data_with_everything_a_result_needs():
    described = machine.describe()

    assert json.loads(json.dumps(described)) == described
    assert set(described) == {"node", "system", "processor", "cores", "memory_bytes", "python", "packages"}
    assert all(described[field] for field in described)
    assert described["memory_bytes"] > 1e8
    assert tuple(described["packages"]) == machine.PACKAGES
    assert described["packages"]["nbkit"] == nbkit.__version__


@pytest.mark.ranks
def test_cores_are_those_this_process_may_use():
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from nbkit import machine; print(machine.usable_cores())"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "1"
    assert 1 <= machine.usable_cores() <= len(os.sched_getaffinity(0))


def test_a_package_that_is_not_installed_has_no_version():
    assert machine.package_version("no-such-package-at-all") is None


@pytest.mark.ranks
def test_describing_a_machine_loads_no_torch():
    code = "import sys; from nbkit import machine; machine.describe(); print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def cgroup(root, path, **files):
    """A control group's files below a root folder; a point in a name is written as two underscores."""
    folder = root / "sys/fs/cgroup" / path
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n")


def belongs_to(root, lines):
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))


@pytest.mark.parametrize(
    ("lines", "path", "files", "cores"),
    [
        ("0::/\n", "", {"cpu__max": "250000 100000"}, 3),
        ("0::/\n", "", {"cpu__max": "max 100000"}, 8),
        ("0::/\n", "", {"cpu__max": "20000 100000"}, 1),
        ("0::/\n", "", {"cpu__max": "9999999 100000"}, 8),
        ("0::/\n", "", {"cpu__max": ""}, 8),
        ("0::/\n", "", {"cpu__max": "garbage 0"}, 8),
        ("0::/batch/job\n", "batch", {"cpu__max": "400000 100000"}, 4),
        ("0::/batch/job\n", "batch/job", {"cpu__max": "100000 50000"}, 2),
        ("0::/batch/job\n", "batch/other", {"cpu__max": "100000 50000"}, 8),
        ("3:cpu,cpuacct:/job\n", "cpu,cpuacct/job", {"cpu__cfs_quota_us": 150_000, "cpu__cfs_period_us": 100_000}, 2),
        ("3:cpu:/job\n", "cpu", {"cpu__cfs_quota_us": 300_000, "cpu__cfs_period_us": 100_000}, 3),
        ("3:cpu:/job\n", "cpu/job", {"cpu__cfs_quota_us": -1, "cpu__cfs_period_us": 100_000}, 8),
        ("3:cpu:/job\n", "cpu/job", {"cpu__cfs_quota_us": 100_000}, 8),
    ],
)
def test_a_containers_quota_counts_as_its_cores(tmp_path, eight_cores, lines, path, files, cores):
    belongs_to(tmp_path, lines)
    if path.endswith("job"):
        cgroup(tmp_path, path.removesuffix("/job"))
    cgroup(tmp_path, path, **files)
    assert machine.usable_cores(tmp_path) == cores


def test_of_nested_quotas_the_tightest_counts(tmp_path, eight_cores):
    belongs_to(tmp_path, "0::/a/b\n")
    cgroup(tmp_path, "a", cpu__max="200000 100000")
    cgroup(tmp_path, "a/b", cpu__max="700000 100000")
    assert machine.usable_cores(tmp_path) == 2
    assert machine.usable_cores(tmp_path / "nothing") == 8


@pytest.mark.parametrize("value", ["1", "true", "YES", "y", "t", "On", " 1 "])
def test_a_yes_keeps_off_the_gpus(monkeypatch, value):
    monkeypatch.setenv("ACCELERATE_USE_CPU", value)
    assert machine.uses_cpu()


@pytest.mark.parametrize("value", ["0", "false", "No", "n", "F", "off", "", None])
def test_a_no_or_nothing_does_not_keep_off_the_gpus(monkeypatch, value):
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    if value is not None:
        monkeypatch.setenv("ACCELERATE_USE_CPU", value)
    assert not machine.uses_cpu()


def test_yes_and_no_are_what_they_are_to_accelerate(monkeypatch):
    from accelerate.utils import str_to_bool

    assert all(str_to_bool(word) for word in machine.YES)
    assert not any(str_to_bool(word) for word in machine.NO if word)


def test_what_is_neither_yes_nor_no_is_an_error_that_names_it(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_CPU", "cpu")
    with pytest.raises(nbkit.InputError, match=r"ACCELERATE_USE_CPU='cpu' .* neither a yes"):
        machine.uses_cpu()


@pytest.mark.parametrize(
    ("value", "threads"),
    [("4", 4), (" 2 ", 2), ("4,3,2", 4), ("4 , 3", 4), ("+3", 3), ("007", 7), ("", None), (" ", None)],
)
def test_threads_are_read_as_openmp_reads_them(monkeypatch, value, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert machine.threads_asked() == threads


@pytest.mark.parametrize(
    "value", ["0", "-1", "four", "4,", "4,x", ",4", "4.5", "4 3", "1e3", "9" * 5000, "99999999999", "\u0664"]
)
def test_what_is_no_number_of_threads_is_an_error_that_names_it(monkeypatch, value):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    with pytest.raises(nbkit.InputError, match="OMP_NUM_THREADS="):
        machine.threads_asked()


STAT = "anon 500\ninactive_file 200\nactive_file 30"
STAT_V1 = "cache 500\ninactive_file 1\ntotal_inactive_file 200\ntotal_active_file 30"


def test_without_a_limit_the_machines_memory_is_what_is_available(tmp_path):
    cgroup(tmp_path, "", memory__max="max", memory__current=1000, memory__stat=STAT)
    assert machine.available_memory_bytes(tmp_path) == pytest.approx(psutil.virtual_memory().available, rel=0.5)
    assert machine.available_memory_bytes(tmp_path / "nothing") > 1e8
    assert 0 < machine.available_memory_bytes() <= psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("path", "files"),
    [
        ("", {"memory__max": 10_000, "memory__current": 4_000, "memory__stat": STAT}),
        ("memory", {"memory__limit_in_bytes": 10_000, "memory__usage_in_bytes": 4_000, "memory__stat": STAT_V1}),
    ],
)
def test_a_containers_limit_counts_with_its_cached_files_as_free(tmp_path, path, files):
    cgroup(tmp_path, path, **files)
    assert machine.available_memory_bytes(tmp_path) == 6_230


def test_of_nested_groups_the_tightest_counts(tmp_path):
    belongs_to(tmp_path, "12:pids:/\n0::/batch/job_7\n")
    cgroup(tmp_path, "batch", memory__max=20_000, memory__current=1_000, memory__stat=STAT)
    cgroup(tmp_path, "batch/job_7", memory__max=5_000, memory__current=1_000, memory__stat=STAT)
    cgroup(tmp_path, "batch/job_8", memory__max=10, memory__current=10, memory__stat=STAT)
    assert machine.available_memory_bytes(tmp_path) == 4_230


def test_a_group_of_version_1_is_found_by_its_controller(tmp_path):
    belongs_to(tmp_path, "5:cpu,cpuacct:/other\n4:memory:/job\n1:name=systemd:/x\n")
    files = {"memory__limit_in_bytes": 5_000, "memory__usage_in_bytes": 4_900, "memory__stat": "total_cache 7"}
    cgroup(tmp_path, "memory/job", **files)
    assert machine.available_memory_bytes(tmp_path) == 100


@pytest.mark.parametrize("lines", ["", "no group", "0::/../../outside\n", "0::/not/mounted/here\n"])
def test_a_path_that_leads_nowhere_leaves_the_containers_own_limit(tmp_path, lines):
    belongs_to(tmp_path, lines)
    cgroup(tmp_path, "", memory__max=10_000, memory__current=20_000, memory__stat="file 0")
    assert machine.available_memory_bytes(tmp_path) == 0
