"""What holds for a run before anything of it is made."""

import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers", reason="transformers is not installed")

_RUN = """
import torch
from agents.lm import models
from agents.lm.args import RunArgs

def drawn(seed):
    models.set_up(RunArgs(out=None, seed=seed, device="cpu", torch_threads=2))
    return torch.rand(3).tolist()

tiny = torch.full((8,), 1e-30)
assert (tiny * 1e-10 > 0).all()
assert drawn(1) == drawn(1) != drawn(2)
assert torch.get_num_threads() == 2
assert (tiny * 1e-10 == 0).all()
"""


def test_a_run_has_its_seed_its_threads_and_no_denormal_numbers():
    # in a process of its own: what it sets holds for all that comes after
    done = subprocess.run([sys.executable, "-c", _RUN], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
