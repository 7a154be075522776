"""Facts about this machine that the runner plans with."""

import os
import subprocess
import sys

import pytest

from tunery.runner import machine


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process which cores it may use")
def test_cores_are_those_that_the_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    assert machine.cores() == len(allowed)
    asked = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); "
    asked += "from tunery.runner import machine; print(machine.cores())"
    told = subprocess.run([sys.executable, "-c", asked, str(min(allowed))], capture_output=True, check=True)
    assert int(told.stdout) == 1
