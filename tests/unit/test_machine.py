from __future__ import annotations

import json
import os
import subprocess
import sys

import nbkit
from nbkit import machine


def test_a_description_is_plain_data_with_everything_a_result_needs():
    described = machine.describe()

    assert json.loads(json.dumps(described)) == described
    assert set(described) == {"node", "system", "processor", "cores", "memory_bytes", "python", "packages"}
    assert all(described[field] for field in described)
    assert described["memory_bytes"] > 1e8
    assert tuple(described["packages"]) == machine.PACKAGES
    assert described["packages"]["nbkit"] == nbkit.__version__


def test_cores_are_those_this_process_may_use():
    code = (
        "import os; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])\n"
        "from nbkit import machine; print(machine.usable_cores())"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "1"
    assert machine.usable_cores() == len(os.sched_getaffinity(0))


def test_a_package_that_is_not_installed_has_no_version():
    assert machine.package_version("no-such-package-at-all") is None


def test_describing_a_machine_loads_no_torch():
    code = "import sys; from nbkit import machine; machine.describe(); print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
