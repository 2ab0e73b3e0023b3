"""The same users talked to by Metropolis and `item_query`, and by BoTorch; posteriors by NUTS.

Users are drawn from the cold prior; all recommenders ask item queries of two, and every answer is
drawn from the choice model with one uniform number per user and turn, whoever asks. After each
answer the item of the highest posterior mean utility is recommended: its regret is what the user's
best item has more, in the world's units of utility.

Ours: 256 draws and `item_query` with its defaults, all users at a time. "flat" starts without
knowledge of the population, from a normal about 0 with one deviation for all axes, the population's
average; this is to be fair to Gaussian processes, which start without such knowledge too.

BoTorch, one user at a time: `PairwiseGP` with a logistic likelihood (the choice model's form; the
default is a probit), hyperparameters fitted as in the tutorial on preferences; the first pair is
random, the next ones have the highest qEUBO.

- `gp linear`: a linear kernel over the item embeddings, its scale fitted.
- `gp rbf`: the default kernel over the embeddings scaled to the unit cube, as in the tutorial.
- `gp population`: linear, with the mean and the deviations of the cold prior, and nothing to fit:
  ours in the language of Gaussian processes.

qEUBO is maximised over the items by `optimize_acqf_discrete`: one item, then the other, without the
loss of rounding to items. `gp linear (box)` maximises it over the bounding box of the embeddings by
`optimize_acqf`, as in the tutorial, and asks about the distinct items nearest to the two points.

NUTS samples the posterior after ours' seven answers anew, as it has no use for the draws of the
last turn. Effective draws are those for the posterior mean of each axis. For ours they follow from
the variance of the mean over independent ensembles that lived through the conversation; the time is
that of all its updates.
"""

from __future__ import annotations

import time
import warnings
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from crs_gym.acts import NONE, Turn, UserAct, UserKind, no_turn
from crs_gym.inference import Metropolis, Prior, population_prior
from crs_gym.inference.search import item_query
from crs_gym.policies.acts import ask_item
from crs_gym.simulation.keys import belief_key, turn_keys
from crs_gym.users import Context, Items, UserModel, choice, items_of
from crs_gym.world import World

DRAWS, ENSEMBLES = 256, 64
WARMUP, SAMPLES = 300, 1000
RESTARTS, RAW = 4, 64


class Setting(NamedTuple):
    """items, model: the world. prior: the cold one. users: (U, d). uniforms: (U, H)."""

    items: Items
    model: UserModel
    prior: Prior
    users: Any
    uniforms: Any


class Talks(NamedTuple):
    """utility: (U, H + 1) of the item recommended after each answer. seconds: per query.

    cpu: processor time per query, which other jobs on the machine hardly touch.
    failures: fits that failed; the first guess of the hyperparameters stands in.
    """

    utility: np.ndarray
    seconds: float
    cpu: float
    failures: int = 0


class Watch:
    """Adds up the seconds, and the processor's, of the blocks that it is held over."""

    def __init__(self) -> None:
        self.spent = np.zeros(2)

    def __enter__(self) -> None:
        self.spent -= (time.perf_counter(), time.process_time())

    def __exit__(self, *_: object) -> None:
        self.spent += (time.perf_counter(), time.process_time())


def make_setting(world: World, users: int, turns: int, seed: int) -> Setting:
    rng = np.random.default_rng(seed)
    prior = Prior(*map(jnp.asarray, population_prior(world)))
    noise = rng.standard_normal((users, world.dim))
    phi = np.asarray(prior.mean) + np.asarray(prior.std) * noise
    model = UserModel(*map(jnp.float32, UserModel.of(world)))
    uniforms = jnp.asarray(rng.random((users, turns)), jnp.float32)
    return Setting(items_of(world), model, prior, jnp.asarray(phi, jnp.float32), uniforms)


def flat(prior: Prior) -> Prior:
    """Knows but the population's average scale."""
    scale = jnp.sqrt(jnp.mean(prior.mean**2 + prior.std**2))
    return Prior(jnp.zeros_like(prior.mean), jnp.full_like(prior.std, scale))


def chosen(setting: Setting, phi: jax.Array, uniform: jax.Array, slate: jax.Array) -> jax.Array:
    """() the place that user phi chooses from the slate."""
    utilities = setting.items.embeddings[slate] @ phi
    return choice.sample(uniform, choice.log_probs(utilities, setting.model.temperature))


def chosen_turn(slate: jax.Array, slot: jax.Array) -> Turn:
    none = jnp.int32(NONE)
    return Turn(ask_item(slate), UserAct(jnp.int32(UserKind.CHOOSE), slot, none, jnp.int32(0)))


def context_at(turn: int | jax.Array, items: Items) -> Context:
    turn = jnp.int32(turn)
    free = (jnp.zeros(len(x), bool) for x in (items.cavs, items.embeddings))
    return Context(turn, turn, *free)


def converse(
    inference: Metropolis, prior: Prior, setting: Setting, keys: jax.Array
) -> tuple[Talks, Turn]:
    """Our conversations, all users at a time; and their histories."""
    axes = inference.axes(shared_prior=True)

    size, turns = setting.uniforms.shape

    @jax.jit
    def begin(setting: Setting, keys: jax.Array) -> tuple[Any, Turn]:
        history = jax.tree.map(lambda x: jnp.broadcast_to(x, (size, turns, *x.shape)), no_turn(2))

        def one(key: jax.Array) -> Any:
            return inference.init(belief_key(key, 0), prior, setting.items, setting.model)

        return jax.vmap(one, out_axes=axes)(keys), history

    @jax.jit
    def ask(setting: Setting, belief: Any, keys: jax.Array, turn: jax.Array) -> jax.Array:
        def one(belief: Any, key: jax.Array) -> jax.Array:
            key = turn_keys(key, turn + 1)[1]
            return item_query(key, inference.samples(belief), setting.items, setting.model, 2).slate

        return jax.vmap(one, in_axes=(axes, 0))(belief, keys)

    @jax.jit
    def hear(setting: Setting, history: Turn, slates: jax.Array, turn: jax.Array) -> Turn:
        slots = jax.vmap(partial(chosen, setting))(setting.users, setting.uniforms[:, turn], slates)
        new = jax.vmap(chosen_turn)(slates, slots)
        return jax.tree.map(lambda past, now: past.at[:, turn].set(now), history, new)

    @jax.jit
    def update(
        setting: Setting, belief: Any, keys: jax.Array, history: Turn, turn: jax.Array
    ) -> Any:
        def one(belief: Any, key: jax.Array, history: Turn) -> Any:
            key, context = belief_key(key, turn + 1), context_at(turn, setting.items)
            return inference.update(key, belief, history, context, setting.items, setting.model)

        return jax.vmap(one, in_axes=(axes, 0, 0), out_axes=axes)(belief, keys, history)

    @jax.jit
    def recommend(setting: Setting, belief: Any) -> jax.Array:
        def one(belief: Any, phi: jax.Array) -> jax.Array:
            samples = inference.samples(belief)
            mean = samples.weights @ samples.embeddings
            return setting.items.embeddings[jnp.argmax(setting.items.embeddings @ mean)] @ phi

        return jax.vmap(one, in_axes=(axes, 0))(belief, setting.users)

    spent = []
    # the first time compiles
    for _ in range(4):
        belief, history = begin(setting, keys)
        utility, watch = [recommend(setting, belief)], Watch()
        for turn in range(turns):
            with watch:
                slates = jax.block_until_ready(ask(setting, belief, keys, turn))
            history = jax.block_until_ready(hear(setting, history, slates, turn))
            with watch:
                belief = jax.block_until_ready(update(setting, belief, keys, history, turn))
            utility.append(recommend(setting, belief))
        spent.append(watch.spent / turns / size)
    seconds, cpu = np.median(spent[1:], axis=0)
    return Talks(np.stack(utility, axis=1), float(seconds), float(cpu)), history


class Gp(NamedTuple):
    """What a Gaussian process knows: X (N, d) its inputs, mean (d,) over them, or None."""

    inputs: np.ndarray
    rbf: bool = False
    mean: np.ndarray | None = None
    scale: float = 1.0
    box: bool = False


def gp_talks(gp: Gp, setting: Setting, users: int, seed: int, name: str) -> Talks:
    """Conversations led by BoTorch."""
    import torch
    from botorch.acquisition.preference import qExpectedUtilityOfBestOption
    from botorch.exceptions import ModelFittingError
    from botorch.fit import fit_gpytorch_mll
    from botorch.models.likelihoods.pairwise import PairwiseLogitLikelihood
    from botorch.models.pairwise_gp import PairwiseGP, PairwiseLaplaceMarginalLogLikelihood
    from botorch.models.transforms import Normalize
    from botorch.optim import optimize_acqf, optimize_acqf_discrete
    from gpytorch.kernels import LinearKernel, ScaleKernel
    from gpytorch.means import LinearMean

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    inputs = torch.tensor(np.asarray(gp.inputs, np.float64))
    bounds = torch.stack([inputs.min(0).values, inputs.max(0).values])
    dim = inputs.shape[1]

    failures: list[int] = []

    def model_of(rows: torch.Tensor, comparisons: torch.Tensor) -> PairwiseGP:
        options: dict[str, Any] = {}
        if gp.rbf:
            options["input_transform"] = Normalize(dim, bounds=bounds)
        else:
            kernel = LinearKernel()
            kernel.variance = 1.0
            kernel.raw_variance.requires_grad_(False)
            options["covar_module"] = ScaleKernel(kernel)
            options["covar_module"].outputscale = gp.scale
        points = inputs[rows]
        model = PairwiseGP(points, comparisons, PairwiseLogitLikelihood(), **options).double()
        if gp.mean is None:
            likelihood = PairwiseLaplaceMarginalLogLikelihood(model.likelihood, model)
            try:
                fit_gpytorch_mll(likelihood)
            except ModelFittingError:
                failures.append(len(comparisons))
                model.set_train_data(points, comparisons, update_model=True)
        else:
            mean = LinearMean(dim, bias=False).double()
            mean.weights.data[:] = torch.tensor(gp.mean)[:, None]
            model.mean_module = mean.requires_grad_(False)
            model.set_train_data(points, comparisons, update_model=True)
        return model.eval()

    def query(model: PairwiseGP) -> list[int]:
        acquisition = qExpectedUtilityOfBestOption(model)
        if not gp.box:
            points, _ = optimize_acqf_discrete(acquisition, q=2, choices=inputs)
        else:
            points, _ = optimize_acqf(
                acquisition, bounds, q=2, num_restarts=RESTARTS, raw_samples=RAW
            )
        far = torch.cdist(points, inputs)
        first = int(far[0].argmin())
        far[1, first] = torch.inf
        return [first, int(far[1].argmin())]

    def best(model: PairwiseGP) -> int:
        with torch.no_grad():
            return int(model.posterior(inputs[:, None]).mean.flatten().argmax())

    answer = jax.jit(partial(chosen, setting))
    embeddings = np.asarray(setting.items.embeddings)
    turns = setting.uniforms.shape[1]
    utility, spent = np.zeros((users, turns + 1)), []
    rng = np.random.default_rng(seed)
    for user in tqdm(range(users), desc=name):
        phi = np.asarray(setting.users[user])
        rows: list[int] = []
        comparisons: list[list[int]] = []
        random = rng.choice(len(inputs), 3, replace=False)
        model = None
        guess = random[2] if gp.mean is None else int((gp.inputs @ gp.mean).argmax())
        utility[user, 0] = embeddings[guess] @ phi
        for turn in range(turns):
            watch = Watch()
            with watch:
                slate = [int(i) for i in random[:2]] if model is None else query(model)
            slot = int(answer(phi, setting.uniforms[user, turn], jnp.array(slate)))
            rows += slate
            comparisons.append([2 * turn + slot, 2 * turn + 1 - slot])
            with watch:
                model = model_of(torch.tensor(rows), torch.tensor(comparisons))
            utility[user, turn + 1] = embeddings[best(model)] @ phi
            if turn:  # without data nothing is searched
                spent.append(watch.spent)
    seconds, cpu = np.median(spent, axis=0)
    return Talks(utility, float(seconds), float(cpu), len(failures))


def compare_posteriors(
    inference: Metropolis, setting: Setting, histories: Turn, seed: int
) -> dict[str, Any]:
    """Effective draws per second of NUTS and of ours, and how far their means lie apart."""
    import numpyro
    import numpyro.distributions as dist
    from numpyro.diagnostics import effective_sample_size
    from numpyro.infer import MCMC, NUTS

    items, settings_model, prior = setting.items, setting.model, setting.prior
    axes = inference.axes(shared_prior=True)
    turns = setting.uniforms.shape[1]
    asked, answered = histories.act.slate, histories.response.slot

    # `users.log_prob` of a choice; nothing else in it depends on phi_u
    def model(slates: jax.Array, slots: jax.Array) -> None:
        z = numpyro.sample("z", dist.Normal(0, 1).expand([len(prior.mean)]).to_event(1))
        utilities = items.embeddings[slates] @ (prior.mean + prior.std * z)
        told = choice.log_probs(utilities, settings_model.temperature)
        numpyro.factor("answers", jnp.take_along_axis(told, slots[:, None], axis=1).sum())

    sampler = MCMC(
        NUTS(model),
        num_warmup=WARMUP,
        num_samples=SAMPLES,
        progress_bar=False,
        jit_model_args=True,
    )

    @jax.jit
    def live(setting: Setting, history: Turn, keys: jax.Array) -> jax.Array:
        def init(key: jax.Array) -> Any:
            return inference.init(belief_key(key, 0), setting.prior, setting.items, setting.model)

        def update(belief: Any, turn: jax.Array) -> tuple[Any, None]:
            past = jnp.arange(turns) <= turn
            act, response = history
            seen = Turn(
                act._replace(kind=jnp.where(past, act.kind, NONE)),
                response._replace(kind=jnp.where(past, response.kind, NONE)),
            )

            def one(key: jax.Array, belief: Any) -> Any:
                key, context = belief_key(key, turn + 1), context_at(turn, setting.items)
                return inference.update(key, belief, seen, context, setting.items, setting.model)

            return jax.vmap(one, in_axes=(0, axes), out_axes=axes)(keys, belief), None

        belief = jax.vmap(init, out_axes=axes)(keys)
        return jax.lax.scan(update, belief, jnp.arange(turns))[0].points

    key = jax.random.key(seed)
    sampler.run(key, asked[0], answered[0])
    keys = jax.random.split(key, ENSEMBLES)
    history = jax.tree.map(lambda x: x[0], histories)
    jax.block_until_ready(live(setting, history, keys))
    rows: dict[str, list[Any]] = {}
    for user in tqdm(range(len(asked)), desc="posteriors"):
        start = time.perf_counter()
        sampler.run(jax.random.fold_in(key, user), asked[user], answered[user])
        draws = np.asarray(jax.block_until_ready(sampler.get_samples()["z"]))
        nuts_seconds = time.perf_counter() - start
        history = jax.tree.map(lambda x, user=user: x[user], histories)
        start = time.perf_counter()
        points = np.asarray(jax.block_until_ready(live(setting, history, keys)), np.float64)
        our_seconds = (time.perf_counter() - start) / ENSEMBLES
        # variance over ensembles of their mean against that of a single draw
        ours = points.var((0, 1)) / points.mean(1).var(0, ddof=1)
        nuts = effective_sample_size(draws[None])
        error = np.abs(points.mean((0, 1)) - draws.mean(0)) / draws.std(0)
        for name, value in {
            "nuts_seconds": nuts_seconds,
            "ours_seconds": our_seconds,
            "nuts_ess_median": np.median(nuts),
            "nuts_ess_least": nuts.min(),
            "ours_ess_median": np.median(ours),
            "ours_ess_least": ours.min(),
            "mean_gap": error.max(),
            "mean_gap_expected": np.max(np.sqrt(1 / nuts + 1 / (ENSEMBLES * ours))),
        }.items():
            rows.setdefault(name, []).append(float(value))
    found = {name: float(np.median(values)) for name, values in rows.items()}
    for kind in ("median", "least"):
        rate = {
            who: found[f"{who}_ess_{kind}"] / found[f"{who}_seconds"] for who in ("ours", "nuts")
        }
        found |= {f"{who}_per_second_{kind}": value for who, value in rate.items()}
        found[f"times_faster_{kind}"] = rate["ours"] / rate["nuts"]
    found["users"] = len(asked)
    return {**found, "warmup": WARMUP, "samples": SAMPLES, "ensembles": ENSEMBLES, "draws": DRAWS}


def compare(
    world: World,
    *,
    users: int,
    nuts_users: int,
    botorch_users: int,
    box_users: int,
    turns: int,
    seed: int,
) -> dict[str, Any]:
    """Talks to all users, and samples their posteriors."""
    warnings.filterwarnings("ignore", module=r"botorch|gpytorch|linear_operator")
    setting = make_setting(world, users, turns, seed)
    inference = Metropolis.of(DRAWS)
    keys = jax.random.split(jax.random.key(seed), users)
    talks: dict[str, Talks] = {}
    talks["ours"], histories = converse(inference, setting.prior, setting, keys)
    talks["ours, flat"], _ = converse(inference, flat(setting.prior), setting, keys)
    alone = setting._replace(users=setting.users[:1], uniforms=setting.uniforms[:1])
    single, _ = converse(inference, setting.prior, alone, keys[:1])
    few = jax.tree.map(lambda x: x[:nuts_users], histories)
    posteriors = compare_posteriors(inference, setting, few, seed)

    temperature = float(setting.model.temperature)
    embeddings = np.asarray(setting.items.embeddings, np.float64)
    mean, std = (np.asarray(x, np.float64) for x in setting.prior)
    guess = float(flat(setting.prior).std[0] / temperature) ** 2
    # an axis in which the population does not vary would be all mean and no kernel
    width = np.maximum(std, 1e-3 * std.max())
    population = Gp(embeddings * width, False, mean / width / temperature, temperature**-2)
    gps = {
        "gp linear": (Gp(embeddings, scale=guess), botorch_users),
        "gp rbf": (Gp(embeddings, rbf=True), botorch_users),
        "gp population": (population, botorch_users),
        "gp linear (box)": (Gp(embeddings, scale=guess, box=True), box_users),
    }
    for name, (gp, count) in gps.items():
        if count:
            talks[name] = gp_talks(gp, setting, min(count, users), seed, name)

    best = np.asarray((setting.users @ setting.items.embeddings.T).max(1), np.float64)
    ours = best[:, None] - talks["ours"].utility
    methods = {}
    for name, talk in talks.items():
        count = len(talk.utility)
        regret = best[:count, None] - talk.utility
        against = regret - (best[:count, None] - talks["ours, flat"].utility[:count])
        methods[name] = {
            "users": count,
            "failed_fits": talk.failures,
            "seconds_per_query": talk.seconds,
            "cpu_seconds_per_query": talk.cpu,
            "times_slower": talk.seconds / talks["ours"].seconds,
            "times_more_cpu": talk.cpu / talks["ours"].cpu,
            "times_slower_than_single": talk.seconds / single.seconds,
            "regret": interval(regret),
            "more_than_ours": interval(regret - ours[:count]),
            "more_than_ours_flat": interval(against),
        }
    return {
        "world": {"name": world.name, "items": world.n_items, "dim": world.dim},
        "temperature": temperature,
        "ours_seconds_per_query_alone": single.seconds,
        "methods": methods,
        "posteriors": posteriors,
    }


def interval(values: np.ndarray) -> dict[str, list[float]]:
    """Means over users, and half the width of the normal 95% intervals: (U, H + 1) to lists."""
    half = 1.96 * values.std(0, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0 * values[0]
    return {"mean": values.mean(0).tolist(), "half_width": half.tolist()}
