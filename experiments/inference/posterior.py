"""Is the belief right? Draws by Metropolis-Hastings against the posterior, and against time.

    python -m experiments.inference.posterior --parts nuts sbc time robust kernels

- nuts: the same posterior by NumPyro's NUTS, in three sizes, after 0 to 7 responses.
- sbc: simulation-based calibration: where does the truth rank among the draws?
- time: weighted samples of the prior that take as long, against a long run.
- robust: the recommender takes users to be twice or half as decided as they are.
- kernels: effective draws per second of our moves, random walks and elliptical slices.

Users are drawn from the recommender's own prior. Each part writes `results/posterior-<part>.json`
(JSON), some a figure beside it, and prints a table. A part whose file exists is only printed,
unless `--again`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import tyro
from numpyro.diagnostics import effective_sample_size
from scipy import stats
from tqdm import tqdm

from crs_gym.acts import Turn
from crs_gym.evaluation.plots import INK, new_figure, save_figure
from crs_gym.inference import Metropolis, Prior
from crs_gym.policies.icer import Icer
from crs_gym.simulation import Simulator
from crs_gym.simulation.simulator import State
from crs_gym.world import load_world
from experiments.inference.common import (
    CRITIQUING,
    TURNS,
    Args,
    Part,
    Row,
    Script,
    batches,
    converse,
    from_cold_prior,
    keys_of,
    log_likelihood,
    projections,
    replay,
    scripted_talk,
    shortened,
    sized,
)
from experiments.inference.posterior_speed import run_kernels, run_time, show_kernels, show_time

RESULTS = Path(__file__).parent / "results"


def run_nuts(args: Args) -> Row:
    rows: list[Row] = []
    for dim in (8, 64, 128):
        simulator = from_cold_prior(Simulator.of(sized(dim), user_model=CRITIQUING))
        rows += nuts_cells(simulator, args)
    compared = sum(row["quantities"] for row in rows)
    bound = float(stats.norm.isf(0.01 / 2 / compared))
    return {"rows": rows, "compared": compared, "bound": bound}


def nuts_cells(simulator: Simulator, args: Args) -> list[Row]:
    population, history = scripted_talk(simulator, args)
    mean, std = population
    told = jax.tree.map(jnp.asarray, history)
    items, model = simulator.items, simulator.model
    known = np.flatnonzero(np.asarray(std) > 0)

    @jax.jit
    def nuts(key: jax.Array, history: Turn) -> jax.Array:
        def energy(z: jax.Array) -> jax.Array:
            return 0.5 * z @ z - log_likelihood(mean + std * z, history, items, model)

        chains = numpyro.infer.MCMC(
            numpyro.infer.NUTS(potential_fn=energy),
            num_warmup=args.samples // 2,
            num_samples=args.samples,
            num_chains=args.chains,
            chain_method="vectorized",
            progress_bar=False,
        )
        chains.run(key, init_params=jnp.zeros((args.chains, simulator.dim)))
        return chains.get_samples(group_by_chain=True)

    @jax.jit
    def quantities(z: jax.Array, history: Turn, along: jax.Array) -> jax.Array:
        one = partial(log_likelihood, history=history, items=items, model=model)
        found = jax.lax.map(lambda z: one(mean + std * z), z)
        return jnp.concatenate([z[..., known], z @ along.T, found[..., None]], axis=-1)

    ensembles = jax.tree.map(lambda x: jnp.broadcast_to(x, (args.ensembles, *x.shape)), told)
    prior = jax.tree.map(
        lambda x: jnp.broadcast_to(x, (args.ensembles, *x.shape)), Prior(mean, std)
    )
    keys = keys_of(args, 2, args.ensembles)
    beliefs = replay(simulator, Metropolis.of(args.draws), keys, prior, ensembles)
    rows = []
    for turns in tqdm(range(TURNS + 1), desc=f"d = {simulator.dim}", leave=False):
        begun = time.perf_counter()
        belief = jax.block_until_ready(next(beliefs))
        ours_seconds = time.perf_counter() - begun
        if turns not in (0, 1, 3, TURNS):
            continue
        short = shortened(told, turns)
        begun = time.perf_counter()
        z = jax.block_until_ready(nuts(keys_of(args, 3 + turns, 1)[0], short))
        theirs_seconds = time.perf_counter() - begun
        spoken = jax.tree.map(lambda x: x[: max(turns, 1)], told)  # noqa: B023
        along = projections(spoken, simulator, std)
        ours = np.asarray(quantities(belief.points, short, along), np.float64)
        theirs = np.asarray(quantities(z, short, along), np.float64)
        if turns == 0:
            ours, theirs = ours[..., :-1], theirs[..., :-1]
        rows.append(
            {
                "d": simulator.dim,
                "responses": turns,
                "acceptance": float(belief.quality.acceptance.mean()),
                "refreshment": float(belief.quality.refreshment.mean()),
                "seconds": ours_seconds,
                "nuts_seconds": theirs_seconds,
                **compare(ours, theirs),
            }
        )
    return rows


def compare(ours: np.ndarray, theirs: np.ndarray) -> Row:
    """Independent ensembles (R, m, q) against chains (chains, draws, q)."""
    flat, other = ours.reshape(-1, ours.shape[-1]), theirs.reshape(-1, theirs.shape[-1])
    error = ours.mean(1).var(0, ddof=1) / len(ours)
    size = effective_sample_size(theirs)
    variance, theirs_variance = flat.var(0), other.var(0)
    z = (flat.mean(0) - other.mean(0)) / np.sqrt(error + theirs_variance / size)
    ratio = variance / theirs_variance
    return {
        "quantities": len(z),
        "ess": float((variance / error).min()),
        "nuts_ess": float(size.min()),
        "z": float(np.abs(z).max()),
        "z_mean_square": float(np.mean(z**2)),
        "variance_ratio": [float(ratio.min()), float(ratio.max())],
    }


def show_nuts(result: Row) -> None:
    print("  d  responses    ESS  NUTS  max|z|  mean z²  variance ratio  acceptance  "
          "refreshment  s (NUTS)")  # fmt: skip
    for r in result["rows"]:
        low, high = r["variance_ratio"]
        print(
            f"{r['d']:3d}  {r['responses']:9d}  {r['ess']:5.0f}  {r['nuts_ess']:4.0f}"
            f"  {r['z']:6.2f}  {r['z_mean_square']:7.2f}     {low:.3f}, {high:.3f}"
            f"  {r['acceptance']:10.2f}  {r['refreshment']:11.2f}"
            f"  {r['seconds']:.1f} ({r['nuts_seconds']:.1f})"
        )
    print(f"{result['compared']} means are compared; 1% of the time one |z| exceeds "
          f"{result['bound']:.2f}")  # fmt: skip


THINNED, BINS = 63, 16


def run_sbc(args: Args) -> Row:
    base = Simulator.of(load_world(args.world), user_model=CRITIQUING)
    found: Row = {}
    for name, simulator in (
        ("cold", from_cold_prior(base)),
        ("personal", base.with_prior("personal")),
    ):
        found[name] = sbc_ranks(simulator, args, name)
    tests = sum(len(tested) for by_source in found.values() for tested in by_source.values()) // 2
    return {"tests": tests, "bound": 0.01 / tests, "p_and_counts": found}


def sbc_ranks(simulator: Simulator, args: Args, name: str) -> Row:
    """For draws of the posterior and of the prior: each quantity's p-value and histogram."""
    inference = Metropolis.of(args.draws)
    fixed = jax.random.normal(jax.random.key(args.seed + 1), (8, simulator.dim))
    best_known = simulator.items.embeddings[jnp.argmax(simulator.popularity)]
    items, model = simulator.items, simulator.model

    @jax.jit
    def ranks(states: State, points: jax.Array) -> jax.Array:
        def one(state: State, points: jax.Array) -> jax.Array:
            mean, std = state.prior
            act = state.history.act
            item = items.embeddings[act.slate[0, 0]] - items.embeddings[act.slate[0, 1]]
            along = jnp.stack([item, items.cavs[jnp.maximum(act.attribute[1], 0)], best_known])
            truth = (state.user.embedding - mean) / jnp.where(std > 0, std, 1.0)
            z = jnp.concatenate([truth[None], points[:: args.draws // 64][:THINNED]])
            told = log_likelihood(mean + std * z, state.history, items, model)
            values = [z * (std > 0) @ fixed.T, (z * std) @ along.T, told[:, None]]
            value = jnp.concatenate(values, axis=1)
            return jnp.sum(value[1:] < value[0], axis=0)

        return jax.vmap(one)(states, points)

    counted: dict[str, list[jax.Array]] = {"posterior": [], "prior": []}
    for keys in batches(keys_of(args, 20, args.users), 256, f"sbc, {name} prior"):
        steps = converse(simulator, Script(), inference, keys, TURNS)
        _, before = next(steps)
        *_, (states, beliefs) = steps
        counted["posterior"].append(ranks(states, beliefs.points))
        counted["prior"].append(ranks(states, before.points))
    names = [f"random {i + 1}" for i in range(8)]
    names += ["first items", "first attribute", "best-known item", "log-likelihood"]
    found: Row = {}
    for source, parts in counted.items():
        rank = np.concatenate(parts)
        histograms = [
            np.bincount(column * BINS // (THINNED + 1), minlength=BINS) for column in rank.T
        ]
        found[source] = {
            name: {"p": float(stats.chisquare(h).pvalue), "counts": h.tolist()}
            for name, h in zip(names, histograms, strict=True)
        }
    return found


def show_sbc(result: Row) -> None:
    found = result["p_and_counts"]
    columns = [(prior, source) for prior in found for source in found[prior]]
    print(f"{'p-value of uniform ranks':25}" + "".join(f"{p + ', ' + s:>21}" for p, s in columns))
    for name in found["cold"]["posterior"]:
        ps = [found[prior][source][name]["p"] for prior, source in columns]
        print(f"{name:25}" + "".join(f"{p:21.2g}" for p in ps))
    least = min(v["p"] for prior in found.values() for v in prior["posterior"].values())
    print(f"least p of the posterior {least:.2g}, Bonferroni bound at 1% {result['bound']:.2g}")


def plot_sbc(result: Row, path: Path) -> None:
    found = result["p_and_counts"]
    names = ["random 1", "first items", "first attribute", "best-known item", "log-likelihood"]
    rows = [("cold", "posterior"), ("personal", "posterior"), ("cold", "prior")]
    figure = new_figure(2.2 * len(names), 1.7 * len(rows))
    for axes_row, (prior, source) in zip(
        figure.subplots(len(rows), len(names), sharex=True), rows, strict=True
    ):
        for axes, name in zip(axes_row, names, strict=True):
            counts = np.array(found[prior][source][name]["counts"])
            low, high = stats.binom.interval(0.99, counts.sum(), 1 / BINS)
            axes.axhspan(low, high, color="#e5e7eb")
            axes.bar(np.arange(BINS) + 0.5, counts, 0.9, color="#2f6d9e")
            axes.set_xticks([])
            axes.tick_params(labelsize=7, labelcolor=INK)
            if axes is axes_row[0]:
                axes.set_ylabel(f"{prior} prior\ndraws of {source}", fontsize=8, color=INK)
            if (prior, source) == rows[0]:
                axes.set_title(name, fontsize=8, color=INK)
    figure.supxlabel("rank of the truth among 63 draws (grey: 99% of uniform bins)", fontsize=8)
    save_figure(figure, path)


TOP = 10


def run_robust(args: Args) -> Row:
    simulator = from_cold_prior(Simulator.of(load_world(args.world), max_turns=TURNS + 1))
    inference = Metropolis.of(args.draws)

    @jax.jit
    def judge(states: State, points: jax.Array) -> jax.Array:
        def one(state: State, points: jax.Array) -> jax.Array:
            phi = simulator.population.mean + simulator.population.std * points
            utility = simulator.items.embeddings @ state.user.embedding
            top = jax.lax.top_k(simulator.items.embeddings @ phi.mean(0), TOP)[1]
            believed = phi @ simulator.items.embeddings[top].T
            low, first, third, high = jnp.quantile(
                believed, jnp.array([0.05, 0.25, 0.75, 0.95]), axis=0
            )
            true = utility[top]
            half, most = (first < true) & (true < third), (low < true) & (true < high)
            return jnp.stack([state.utility_best - true[0], half.mean(), most.mean()])

        return jax.vmap(one)(states, points)

    rows, regrets = [], {}
    for factor in (1.0, 0.5, 2.0):
        model = simulator.model._replace(temperature=factor * simulator.model.temperature)
        believer = replace(simulator, model=model)
        found: dict[int, list[np.ndarray]] = {3: [], TURNS: []}
        for keys in batches(keys_of(args, 40, args.robust_users), 128, f"robust, {factor:g} T"):
            steps = converse(simulator, Icer(threshold=0.0), inference, keys, TURNS, believer)
            for turns, (states, beliefs) in enumerate(steps):
                if turns in found:
                    found[turns].append(np.asarray(judge(states, beliefs.points)))
        for turns, parts in found.items():
            value = np.concatenate(parts)
            regrets[factor, turns] = value[:, 0]
            more = value[:, 0] - regrets[1.0, turns]
            error = value.std(0) / np.sqrt(len(value))
            rows.append(
                {
                    "believed": factor,
                    "answers": turns,
                    "regret": [float(value[:, 0].mean()), float(error[0])],
                    "more_regret": [float(more.mean()), float(more.std() / np.sqrt(len(more)))],
                    "coverage_50": [float(value[:, 1].mean()), float(error[1])],
                    "coverage_90": [float(value[:, 2].mean()), float(error[2])],
                }
            )
    return {"rows": rows}


def show_robust(result: Row) -> None:
    print(f"{'':14}" + "".join(f"{title:>18}" for title in (
        "regret", "more than right", "50% intervals", "90% intervals")))  # fmt: skip
    for r in result["rows"]:
        cells = [r[name] for name in ("regret", "more_regret", "coverage_50", "coverage_90")]
        print(
            f"{r['believed']:3g} T, {r['answers']} told"
            + "".join(f"   {mean:6.3f} ± {error:.3f}" for mean, error in cells)
        )


PARTS: dict[Part, tuple[Callable[[Args], Row], Callable[[Row], None]]] = {
    "nuts": (run_nuts, show_nuts),
    "sbc": (run_sbc, show_sbc),
    "time": (run_time, show_time),
    "robust": (run_robust, show_robust),
    "kernels": (run_kernels, show_kernels),
}
PLOTS: dict[Part, Callable[[Row, Path], None]] = {"sbc": plot_sbc}


def main(args: Args) -> None:
    RESULTS.mkdir(exist_ok=True)
    for part in args.parts:
        run, show = PARTS[part]
        path = RESULTS / f"posterior-{part}.json"
        if args.again or not path.exists():
            begun = time.perf_counter()
            settings = {k: v for k, v in asdict(args).items() if k not in ("parts", "again")}
            result = {"settings": settings, **run(args)}
            result["seconds"] = time.perf_counter() - begun
            path.write_text(json.dumps(result, indent=1) + "\n")
            if part in PLOTS:
                PLOTS[part](result, path.with_suffix(".png"))
        result = json.loads(path.read_text())
        print(f"\n{part} ({result['seconds']:.0f} s)")
        show(result)


if __name__ == "__main__":
    main(tyro.cli(Args))
