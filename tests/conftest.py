"""Small worlds, and the one statistic that several tests use."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# Most of the time of a first run goes into compiling: in a third of the time, for programs that are
# somewhat slower, and kept between runs. XLA_FLAGS= tests them as users run them.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".pytest_cache" / "jax")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

import jax
import numpy as np
import pytest
from scipy import stats

from crs_gym.simulation.calibration import Targets, calibrate
from crs_gym.simulation.simulator import Simulator
from crs_gym.world import World
from crs_gym.world.generate import generate
from crs_gym.world.movielens import read_movielens
from crs_gym.world.ratings import Ratings
from tests.reach import reaches_an_extra


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--near-extras",
        action="store_true",
        help="only test files from which an import of an optional package can be reached",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    if not config.option.near_extras or not collection_path.match("test_*.py"):
        return None
    return None if reaches_an_extra(collection_path) else True


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs() -> Iterator[None]:
    """Keeps a long run alive: every compiled program takes some of a process's memory maps.

    Linux grants 65,530 of them, and without one more the compiler crashes.
    """
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture(scope="session")
def small_world() -> World:
    """600 items, 8 dimensions, 6 attributes, 200 users; about the smallest that calibrates."""
    world = generate(n_items=600, dim=8, n_attributes=6, n_users=200, name="small")
    return calibrate(world, Targets(users=512))


@pytest.fixture(scope="session")
def plane_world() -> World:
    """40 items and 4 attributes in 2 dimensions: integrals over phi_u can be done on a grid.

    Too small to calibrate; users vary in both dimensions.
    """
    world = generate(n_items=40, dim=2, n_attributes=4, n_users=24, seed=3, name="plane")
    rng = np.random.default_rng(4)
    return world.replace(
        user_mean=rng.normal(0.0, 0.6, world.user_mean.shape),
        user_std=np.full(world.user_std.shape, 0.5),
        user_model={
            "temperature": 0.4,
            "null_z": 1.0,
            "target_scale": 1.5,
            "answer_noise": 0.6,
            "critique_rate": 0.4,
        },
    )


@pytest.fixture(scope="session")
def simulator(small_world: World) -> Simulator:
    return Simulator.of(small_world)


@pytest.fixture(scope="session")
def goodness_of_fit() -> Callable[[np.ndarray, np.ndarray], float]:
    """(counts, probabilities) to the p-value of Pearson's chi-square test.

    Cells expected fewer than 5 times are pooled; a count where the probability is 0 gives p = 0.
    """

    def p_value(counts: np.ndarray, probabilities: np.ndarray) -> float:
        counts, probabilities = np.ravel(counts), np.ravel(probabilities).astype(np.float64)
        if abs(probabilities.sum() - 1) > 1e-4 or counts[probabilities == 0].any():
            return 0.0
        expected = counts.sum() * probabilities / probabilities.sum()
        rare = expected < 5
        observed = np.append(counts[~rare], counts[rare].sum())
        expected = np.append(expected[~rare], expected[rare].sum())
        if expected[-1] < 1e-3:  # hardly ever expected: must not have been seen either
            if observed[-1]:
                return 0.0
            observed, expected = observed[:-1], expected[:-1]
        if len(observed) == 1:
            return 1.0
        statistic = ((observed - expected) ** 2 / expected).sum()
        return float(stats.chi2.sf(statistic, len(observed) - 1))

    return p_value


@pytest.fixture(scope="session")
def movielens() -> Ratings:
    """ml-latest-small; skips where the folder of real data is not named."""
    folder = os.environ.get("CRS_GYM_DATA")
    if not folder:
        pytest.skip("CRS_GYM_DATA is not set: no real data at hand")
    return read_movielens(Path(folder) / "ml-latest-small")
