"""How fast draws of the posterior are had: the parts `time` and `kernels` of `posterior`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np
from numpyro.diagnostics import effective_sample_size

from crs_gym.acts import Turn
from crs_gym.inference import Metropolis, PriorSamples
from crs_gym.inference.belief import effective_size
from crs_gym.inference.evidence import evidence_of, features
from crs_gym.inference.evidence import log_likelihood as fast_log_likelihood
from crs_gym.policies.icer import Icer
from crs_gym.simulation import Simulator
from crs_gym.world import load_world
from experiments.inference.common import (
    CRITIQUING,
    TURNS,
    Args,
    Row,
    Script,
    batches,
    converse,
    from_cold_prior,
    keys_of,
    projections,
    replay,
    scripted_talk,
    shortened,
    sized,
    start,
    update,
)

AFTER = (1, 3, 7, 10)


def run_time(args: Args) -> Row:
    rows, sizes = [], {}
    for prior in ("cold", "personal"):
        base = Simulator.of(load_world(args.world), max_turns=max(AFTER) + 1)
        base = from_cold_prior(base) if prior == "cold" else base.with_prior("personal")
        sizes[prior] = equal_time(base, args)
        for share in (1.0, 1 / 3):
            model = base.model._replace(
                temperature=share * base.model.temperature,
                answer_noise=share * base.model.answer_noise,
            )
            name = f"{prior}, {'sharp' if share < 1 else 'usual'} answers"
            found = time_rows(replace(base, model=model), sizes[prior]["m"], args, name)
            rows += [{"users": name, **row} for row in found]
    return {"rows": rows, "sizes": sizes}


@jax.jit
def means(inference: Any, simulator: Simulator, beliefs: Any) -> jax.Array:
    """(B, d) posterior means."""
    axes = inference.axes(shared_prior=simulator.prior == "cold")

    def one(belief: Any) -> jax.Array:
        samples = inference.samples(belief)
        return samples.weights @ samples.embeddings

    return jax.vmap(one, in_axes=(axes,))(beliefs)


def equal_time(simulator: Simulator, args: Args) -> Row:
    """How many samples of the prior are weighed and averaged in the time of our draws."""
    keys = keys_of(args, 30, 64)
    *_, (states, _) = converse(simulator, Script(), None, keys, TURNS)
    context = states.context._replace(turn=jnp.full(len(keys), TURNS - 1))

    def candidate(inference: Any) -> Callable[[], float]:
        beliefs = start(simulator, inference, keys, states.prior)

        def clock() -> float:
            begun = time.perf_counter()
            after = update(simulator, inference, keys, 1, beliefs, states.history, context)
            jax.block_until_ready(means(inference, simulator, after))
            return time.perf_counter() - begun

        clock()
        return clock

    ours = candidate(Metropolis.of(args.draws))
    m, seconds = 4096, (0.0, 0.0)
    for _ in range(4):
        theirs = candidate(PriorSamples.of(m, simulator.dim))
        both = [(ours(), theirs()) for _ in range(12)]
        seconds = (min(a for a, _ in both), min(b for _, b in both))
        if abs(seconds[1] / seconds[0] - 1) < 0.1:
            break
        m = 2 * round(m * seconds[0] / seconds[1] / 2)
    return {"m": m, "ms": 1e3 * seconds[0] / 64, "prior_samples_ms": 1e3 * seconds[1] / 64}


def time_rows(simulator: Simulator, m: int, args: Args, name: str) -> list[Row]:
    ours, theirs = Metropolis.of(args.draws), PriorSamples.of(m, simulator.dim)
    long = Metropolis.of(2 * args.draws, seed=1)
    axes = long.axes(shared_prior=simulator.prior == "cold")

    @jax.jit
    def reference(simulator: Simulator, keys: jax.Array, beliefs: Any, history: Turn) -> Any:
        def one(key: jax.Array, belief: Any, history: Turn) -> Any:
            _, trace = long.extend(key, belief, history, simulator.items, simulator.model, 10)
            kept = trace.embeddings[2:]
            halves = kept.reshape(-1, 2, args.draws, simulator.dim).mean((0, 2))
            return halves, kept.reshape(-1, simulator.dim).var(0)

        return jax.vmap(one, in_axes=(0, axes, 0))(keys, beliefs, history)

    errors: dict[int, list[np.ndarray]] = {turns: [] for turns in AFTER}
    for keys in batches(keys_of(args, 31, args.time_users), 64, f"time, {name}"):
        *_, (states, _) = converse(simulator, Icer(threshold=0.0), ours, keys, max(AFTER))
        seeds = jax.vmap(lambda key: jax.random.fold_in(key, 99))(keys)
        told = (states.prior, states.history)
        runs = [replay(simulator, who, seeds, *told) for who in (ours, theirs, long)]
        for turns, beliefs in enumerate(zip(*runs, strict=True)):
            if turns not in AFTER:
                continue
            history = shortened(states.history, turns)
            halves, variance = reference(simulator, seeds, beliefs[2], history)
            known = np.asarray(states.prior.std[0] > 0)

            def scaled(gap: jax.Array, variance: Any = variance, known: Any = known) -> np.ndarray:
                square = np.asarray(gap, np.float64) ** 2 / np.maximum(variance, 1e-12)
                return square[:, known].mean(1)

            centre = halves.mean(1)
            parts = [scaled(means(w, simulator, b) - centre)
                     for w, b in zip((ours, theirs), beliefs[:2], strict=True)]  # fmt: skip
            weights = jax.nn.softmax(beliefs[1].log_weights)
            parts += [
                scaled((halves[:, 0] - halves[:, 1]) / 2),
                np.asarray(effective_size(weights)),
            ]
            errors[turns].append(np.stack(parts))
    rows = []
    for turns, found in errors.items():
        mse, prior_mse, noise, kish = np.concatenate(found, axis=1)
        row: Row = {"responses": turns, "reference": float(1 / noise.mean())}
        for key, value in (("ours", mse), ("prior_samples", prior_mse)):
            error = float((value - noise).mean())
            spread = float((value - noise).std() / np.sqrt(len(value)))
            row[key] = [1 / error, spread / error**2]
        row["kish"] = float(kish.mean())
        row["kish_least"] = float(kish.min())
        rows.append(row)
    return rows


def show_time(result: Row) -> None:
    for prior, size in result["sizes"].items():
        print(f"{prior} prior: {result['settings']['draws']} draws take {size['ms']:.2f} ms a user,"
              f" {size['m']} samples of the prior {size['prior_samples_ms']:.2f} ms")  # fmt: skip
    print(f"{'effective draws of the mean':24}  responses    draws (error)  prior samples (error)"
          "  their effective size (least)")  # fmt: skip
    for r in result["rows"]:
        (ours, error), (theirs, other) = r["ours"], r["prior_samples"]
        print(
            f"{r['users']:27}  {r['responses']:9d}  {ours:7.0f} ({error:3.0f})"
            f"  {theirs:10.1f} ({other:6.1f})  {r['kish']:17.1f} ({r['kish_least']:.1f})"
        )


SWEEPS, STEPS, SLICES = 200, 4000, 1000


def run_kernels(args: Args) -> Row:
    rows: list[Row] = []
    for dim in (64, 128):
        simulator = from_cold_prior(Simulator.of(sized(dim), user_model=CRITIQUING))
        rows += kernel_rows(simulator, args)
    return {"rows": rows}


def clock(run: Callable[[], Any]) -> float:
    """Processor seconds, which other work on the core does not lengthen."""
    begun = time.process_time()
    jax.block_until_ready(run())
    return time.process_time() - begun


def kernel_rows(simulator: Simulator, args: Args) -> list[Row]:
    prior, history = scripted_talk(simulator, args)
    inference = Metropolis.of(args.draws)
    batch = jax.tree.map(lambda x: x[None], (prior, history))
    *_, beliefs = replay(simulator, inference, keys_of(args, 50, 1), *batch)
    belief = beliefs._replace(
        prior=prior, points=beliefs.points[0], null=beliefs.null[0],
        quality=jax.tree.map(lambda x: x[0], beliefs.quality),
    )  # fmt: skip
    items, model = simulator.items, simulator.model
    evidence, along = evidence_of(history, items), projections(history, simulator, prior.std)
    chains = len(belief.points)

    def told(z: jax.Array) -> jax.Array:
        return fast_log_likelihood(
            features(prior.mean + prior.std * z, evidence, items), evidence, model
        )

    def seen(z: jax.Array, value: jax.Array) -> jax.Array:
        return jnp.concatenate([z @ along.T, value[..., None]], axis=-1)

    @jax.jit
    def ours(key: jax.Array) -> jax.Array:
        _, trace = inference.extend(key, belief, history, items, model, SWEEPS)
        z = (trace.embeddings - prior.mean) / jnp.where(prior.std > 0, prior.std, 1.0)
        return seen(z, jax.lax.map(jax.vmap(told), z))

    def chain(algorithm: Any, steps: int, key: jax.Array, with_prior: bool) -> jax.Array:
        def step(states: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            states, _ = jax.vmap(algorithm.step)(jax.random.split(key, chains), states)
            z, value = states.position, states.logdensity
            return states, seen(z, value + 0.5 * jnp.sum(z**2, axis=-1) * with_prior)

        states = jax.vmap(algorithm.init)(belief.points)
        return jax.lax.scan(step, states, jax.random.split(key, steps))[1]

    @partial(jax.jit, static_argnames="steps")
    def walk(key: jax.Array, scale: jax.Array, steps: int) -> jax.Array:
        normal = blackjax.mcmc.random_walk.normal(jnp.full(simulator.dim, 1.0) * scale)
        algorithm = blackjax.additive_step_random_walk(lambda z: told(z) - 0.5 * z @ z, normal)
        return chain(algorithm, steps, key, True)

    @jax.jit
    def slices(key: jax.Array) -> jax.Array:
        normal = {"mean": jnp.zeros(simulator.dim), "cov": jnp.ones(simulator.dim)}
        return chain(blackjax.elliptical_slice(told, **normal), SLICES, key, False)

    def sizes(trace: jax.Array) -> np.ndarray:
        size: np.ndarray = effective_sample_size(np.swapaxes(np.asarray(trace, np.float64), 0, 1))
        return size

    scales = [factor / np.sqrt(simulator.dim) for factor in (0.4, 0.8, 1.2, 1.7, 2.4)]
    key, *runs = keys_of(args, 51, 4)
    tried = [sizes(walk(key, scale, STEPS // 4)).min() for scale in scales]
    scale = scales[int(np.argmax(tried))]
    rows: list[Row] = []
    kernels: dict[str, tuple[Callable[[jax.Array], jax.Array], int]] = {
        "ours": (ours, SWEEPS),
        "random walk": (lambda key: walk(key, scale, STEPS), STEPS),
        "elliptical slice": (slices, SLICES),
    }
    for (name, (run, steps)), key in zip(kernels.items(), runs, strict=True):
        trace = jax.block_until_ready(run(key))
        seconds = min(clock(partial(run, key)) for _ in range(3))
        size = sizes(trace)
        rows.append(
            {
                "d": simulator.dim,
                "kernel": name,
                "steps": steps,
                "seconds": seconds,
                "log_likelihood": float(size[-1] / seconds),
                "direction": float(size[:-1].min() / seconds),
                "mean_log_likelihood": float(trace[..., -1].mean()),
            }
        )
        for what in ("log_likelihood", "direction"):
            rows[-1][f"{what}_ratio"] = rows[0][what] / rows[-1][what]
    rows[1]["scale"] = float(scale * np.sqrt(simulator.dim))
    return rows


def show_kernels(result: Row) -> None:
    print("effective draws a second    log-likelihood (ours x)  worst direction (ours x)"
          "  steps  seconds  mean log-likelihood")  # fmt: skip
    for r in result["rows"]:
        print(
            f"{r['d']:4d} {r['kernel']:21}"
            + "".join(f"{r[what]:17.0f} ({r[f'{what}_ratio']:5.1f})"
                      for what in ("log_likelihood", "direction"))
            + f"  {r['steps']:5d}  {r['seconds']:7.2f}  {r['mean_log_likelihood']:19.3f}"
        )  # fmt: skip
