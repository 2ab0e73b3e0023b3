import os
import subprocess
import sys

import pytest

SCRIPT = """
import scipy.linalg.cython_lapack
from crs_gym.inference import Metropolis
import numpy, threadpoolctl
Metropolis.of(8)
counts = {
    library.num_threads
    for library in threadpoolctl.ThreadpoolController().lib_controllers
    if "scipy.libs" in library.filepath
}
print(*counts)
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one processor has one thread anyway")
@pytest.mark.parametrize(("wanted", "found"), [(None, "1"), ("2", "2")])
def test_lapack_has_one_thread_unless_told_otherwise(wanted, found):
    free = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    told = {**free, **({"OPENBLAS_NUM_THREADS": wanted} if wanted else {})}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=told, capture_output=True, text=True, check=True
    )
    if not run.stdout.strip():
        pytest.skip("SciPy brings no OpenBLAS of its own here")
    assert run.stdout.strip() == found
