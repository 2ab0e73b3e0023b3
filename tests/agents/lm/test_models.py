"""What holds for a run, and for nothing else."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers", reason="transformers is not installed")

from agents.lm import models  # noqa: E402
from agents.lm.args import RunArgs  # noqa: E402


def test_a_run_has_its_seed(tmp_path):
    def drawn(seed):
        models.set_up(RunArgs(out=tmp_path, seed=seed, device="cpu"))
        return torch.rand(3).tolist()

    assert drawn(1) == drawn(1) != drawn(2)


def test_denormal_numbers_are_nothing_within_and_there_again_after():
    small = torch.full((64,), 1e-30)

    def product():
        return (small * 1e-10).abs().max().item()

    @models.no_denormals()
    def learn():
        assert product() == 0
        with models.no_denormals():
            assert product() == 0
        assert product() == 0
        raise InterruptedError

    assert product() > 0
    with pytest.raises(InterruptedError):
        learn()
    assert product() > 0


def test_a_run_goes_on_from_the_newest_checkpoint_that_is_whole(tmp_path):
    def state(step, text):
        path = tmp_path / "trainer" / f"checkpoint-{step}" / "trainer_state.json"
        path.parent.mkdir(parents=True)
        path.write_text(text)

    assert models.newest_checkpoint(tmp_path) is None
    state(10, '{"global_step": 1')
    with pytest.warns(UserWarning, match="checkpoint-10.*not whole"):
        assert models.newest_checkpoint(tmp_path) is None
    state(8, '{"global_step": 8}')
    state(9, '{"global_step": 9}')
    (tmp_path / "trainer" / "checkpoint-11").mkdir()
    with pytest.warns(UserWarning, match="checkpoint-10.*not whole"):
        assert models.newest_checkpoint(tmp_path) == str(tmp_path / "trainer" / "checkpoint-9")
