"""LAPACK, as JAX calls it on a CPU."""

from __future__ import annotations

import os
from functools import cache


@cache
def one_thread() -> None:
    """Gives SciPy's OpenBLAS, in which JAX finds LAPACK, one thread.

    Its threads spin between the many small matrices of a belief, which makes an update ten times
    slower. Nothing is changed where OMP_NUM_THREADS or OPENBLAS_NUM_THREADS says what is wanted;
    NumPy's own OpenBLAS keeps its threads.
    """
    if {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"} & set(os.environ):
        return
    import scipy.linalg.cython_lapack  # noqa: F401  what is not loaded cannot be told
    from threadpoolctl import ThreadpoolController

    for library in ThreadpoolController().lib_controllers:
        if library.internal_api == "openblas" and "scipy.libs" in library.filepath:
            library.set_num_threads(1)
