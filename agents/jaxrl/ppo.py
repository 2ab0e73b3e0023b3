"""PPO in JAX: environment, policy and update in one compiled program.

    python -m agents.jaxrl.ppo --env crs/IcerMacro-v0 --total-steps 122880 --out runs/jax-macro

What a run's folder holds: see `agents.runs`. Arguments mean what they mean in `agents.sb3`; where
an action mask exists, it is always obeyed.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from agents import runs
from agents.args import PPOArgs, check, settings, training_kwargs
from agents.jaxrl.actions import Actions, actions_of
from agents.jaxrl.network import Network, Params, Scale, network_of
from agents.jaxrl.store import FORMAT, Trained, flatten, load_policy, unflatten
from crs_gym.envs.core import Batch, Core, begin_batch, proceed_batch
from crs_gym.envs.icer import IcerEnv
from crs_gym.evaluation.benchmark import make_env
from crs_gym.simulation import seed_keys


@dataclass
class Args(PPOArgs):
    """Trains a recommender with PPO in JAX."""

    out: Path = Path("runs/jax")
    """folder of the run"""


@dataclass(frozen=True)
class Method:
    """What a compiled update depends on, of the arguments of the same names."""

    network: Network
    actions: Actions
    n_steps: int
    batch_size: int
    n_epochs: int
    gamma: float
    gae_lambda: float
    clip_range: float
    vf_coef: float
    max_grad_norm: float
    bootstrap_at_limit: bool

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Steps of unit learning rate."""
        return optax.chain(
            optax.clip_by_global_norm(self.max_grad_norm), optax.scale_by_adam(eps=1e-5)
        )


class Learner(NamedTuple):
    """What an update changes.

    params, scale: the policy's weights. moments: state of the optimiser.
    """

    params: Params
    scale: Scale
    moments: Any


class Play(NamedTuple):
    """B conversations in progress.

    batch: as the environment keeps it. observation: (B, D) float32. mask: (B, n) int8, or None.
    key: for the actions to come and the order of minibatches.
    """

    batch: Batch
    observation: Any
    mask: Any
    key: Any


class Transition(NamedTuple):
    """One step of a rollout, or many with leading axes.

    reward, done, value, log_prob: (...) float32, of the step. observation, mask: before it. action:
        as it was drawn.
    """

    observation: Any
    mask: Any
    action: Any
    log_prob: Any
    value: Any
    reward: Any
    done: Any


class Sample(NamedTuple):
    """A transition (...) with the advantage and the return estimated for it."""

    transition: Transition
    advantage: Any
    target: Any


def start(core: Core, seeds: jax.Array, key: jax.Array) -> Play:
    """First episodes of (B,) seed keys."""
    batch, frame = begin_batch(core, seeds)
    return Play(batch, frame.observation, frame.mask, key)


def collect(core: Core, method: Method, learner: Learner, play: Play) -> tuple[Play, Transition]:
    """`n_steps` turns of every conversation: transitions (n_steps, B, ...)."""
    actions = method.actions
    look = partial(method.network.apply, learner.params, learner.scale)

    def turn(play: Play, _: None) -> tuple[Play, Transition]:
        key, now = jax.random.split(play.key)
        outputs, value = look(play.observation)
        action = actions.sample(now, outputs, play.mask)
        batch, frame, ending = proceed_batch(
            core, play.batch, actions.played(action), restart="same"
        )
        assert ending is not None
        reward = frame.reward
        if method.bootstrap_at_limit:
            after = method.gamma * look(ending.observation)[1]
            reward = reward + jnp.where(frame.truncated & ~frame.terminated, after, 0.0)
        seen = Transition(
            play.observation,
            play.mask,
            action,
            actions.log_prob(outputs, play.mask, action),
            value,
            reward,
            (frame.terminated | frame.truncated).astype(jnp.float32),
        )
        return Play(batch, frame.observation, frame.mask, key), seen

    return jax.lax.scan(turn, play, None, method.n_steps)


def advantages(
    reward: jax.Array,
    done: jax.Array,
    value: jax.Array,
    last_value: jax.Array,
    gamma: float,
    gae_lambda: float,
) -> jax.Array:
    """Generalised advantage estimates (T, B).

    Args:
        reward, done, value: (T, B), of each step; `done` is 1 where it ended the episode.
        last_value: (B,), of the observation after the last step.
    """

    def back(carry: tuple[jax.Array, jax.Array], step: Any) -> tuple[Any, jax.Array]:
        following, next_value = carry
        reward, done, value = step
        delta = reward + gamma * (1 - done) * next_value - value
        following = delta + gamma * gae_lambda * (1 - done) * following
        return (following, value), following

    first = jnp.zeros_like(last_value), last_value
    _, found = jax.lax.scan(back, first, (reward, done, value), reverse=True)
    return found


def loss(
    params: Params, scale: Scale, method: Method, sample: Sample, entropy_weight: jax.Array
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """PPO's loss () on a minibatch (B, ...), and numbers to log."""
    step, actions = sample.transition, method.actions
    outputs, value = method.network.apply(params, scale, step.observation)
    log_ratio = actions.log_prob(outputs, step.mask, step.action) - step.log_prob
    ratio = jnp.exp(log_ratio)
    advantage = sample.advantage
    if len(advantage) > 1:
        advantage = (advantage - advantage.mean()) / (advantage.std(ddof=1) + 1e-8)
    near = jnp.clip(ratio, 1 - method.clip_range, 1 + method.clip_range)
    policy_loss = -jnp.mean(jnp.minimum(advantage * ratio, advantage * near))
    value_loss = jnp.mean((sample.target - value) ** 2)
    entropy = jnp.mean(actions.entropy(outputs, step.mask))
    total = policy_loss + method.vf_coef * value_loss - entropy_weight * entropy
    return total, {
        "policy_loss": policy_loss,
        "value_loss": value_loss,
        "entropy": entropy,
        "approx_kl": jnp.mean(ratio - 1 - log_ratio),
        "clip_fraction": jnp.mean(jnp.abs(ratio - 1) > method.clip_range),
    }


def improve(
    method: Method,
    learner: Learner,
    samples: Sample,
    key: jax.Array,
    rate: jax.Array,
    entropy_weight: jax.Array,
) -> tuple[Learner, dict[str, jax.Array]]:
    """`n_epochs` passes over samples (N, ...) in shuffled minibatches.

    Returns:
        the learner, and means () of what `loss` gives to log.
    """
    count = len(samples.advantage)

    def minibatch(learner: Learner, chosen: jax.Array) -> tuple[Learner, Any]:
        some = jax.tree.map(lambda leaf: leaf[chosen], samples)
        gradient, logged = jax.grad(loss, has_aux=True)(
            learner.params, learner.scale, method, some, entropy_weight
        )
        steps, moments = method.optimiser.update(gradient, learner.moments)
        params = jax.tree.map(lambda leaf, step: leaf - rate * step, learner.params, steps)
        return learner._replace(params=params, moments=moments), logged

    def epoch(learner: Learner, key: jax.Array) -> tuple[Learner, Any]:
        order = jax.random.permutation(key, count).reshape(-1, method.batch_size)
        return jax.lax.scan(minibatch, learner, order)

    learner, logged = jax.lax.scan(epoch, learner, jax.random.split(key, method.n_epochs))
    return learner, jax.tree.map(jnp.mean, logged)


@partial(jax.jit, static_argnames="method")
def update(
    core: Core,
    method: Method,
    learner: Learner,
    play: Play,
    rate: jax.Array,
    entropy_weight: jax.Array,
) -> tuple[Learner, Play, dict[str, jax.Array]]:
    """One rollout and what is learnt from it: the program that training consists of.

    Args:
        rate, entropy_weight: () float32, learning rate and weight of the entropy.
    """
    play, steps = collect(core, method, learner, play)
    _, last_value = method.network.apply(learner.params, learner.scale, play.observation)
    found = advantages(
        steps.reward, steps.done, steps.value, last_value, method.gamma, method.gae_lambda
    )
    samples = Sample(steps, found, found + steps.value)
    flat = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), samples)
    key, order = jax.random.split(play.key)
    learner, logged = improve(method, learner, flat, order, rate, entropy_weight)
    # after the update, so that collection and update see the same scale
    learner = learner._replace(scale=learner.scale.update(flat.transition.observation))
    episodes = jnp.maximum(jnp.sum(steps.done), 1.0)
    logged["reward_per_episode"] = jnp.sum(steps.reward) / episodes
    return learner, play._replace(key=key), logged


jit_start = jax.jit(start)


def train(args: Args) -> Trained:
    """Trains, validates, saves and evaluates as `args` say.

    Raises:
        ValueError: arguments that make no sense, or differ from those of the run to resume; no such
            environment.
        FileExistsError: `args.out` holds a run and `resume` is off.
    """
    env = make_env(args.env, training_kwargs(args), "train")
    check(args, env)
    rollout = args.n_envs * args.n_steps
    if rollout % min(args.batch_size, rollout):
        raise ValueError(
            f"batch_size must divide n_envs * n_steps: {args.batch_size} does not divide {rollout}"
        )
    trained = runs.train(Run(args, env))
    assert isinstance(trained, Trained)
    return trained


class Run(runs.Run):
    """A run of this learner."""

    form = FORMAT

    def __init__(self, args: Args, env: IcerEnv) -> None:
        super().__init__(args, settings(args, env), env)
        (size,) = env.observation_space.shape or ()
        actions = actions_of(env.action_space)
        network = network_of(self.config, size, actions)
        self.method = Method(
            network,
            actions,
            args.n_steps,
            min(args.batch_size, args.n_envs * args.n_steps),
            args.n_epochs,
            args.gamma,
            args.gae_lambda,
            args.clip_range,
            args.vf_coef,
            args.max_grad_norm,
            args.bootstrap_at_limit,
        )
        params = network.init(jax.random.key(args.seed, impl="threefry2x32"))
        self.learner = Learner(params, Scale.of(size), self.method.optimiser.init(params))

    def warm_up(self) -> None:
        play = self._start(self.args.seed, self.args.seed)
        # all weights 0 act at random, and what is compiled already need not be compiled again
        blank = jax.tree.map(jnp.zeros_like, self.learner)
        zero = np.float32(0.0)
        found, _, _ = update(self.env.core, self.method, blank, play, zero, zero)
        self.learner = self.learner._replace(scale=found.scale)

    def begin_conversations(self, seeds: np.ndarray) -> None:
        self.play = self._start(int(seeds[0]), int(seeds[1]))

    def update(self, share: float) -> dict[str, float]:
        rates = (np.float32(share * c) for c in (self.args.learning_rate, self.args.ent_coef))
        self.learner, self.play, logged = update(
            self.env.core, self.method, self.learner, self.play, *rates
        )
        return {f"train/{name}": float(value) for name, value in logged.items()}

    def policy(self) -> Trained:
        method, (params, scale, _) = self.method, self.learner
        return Trained(
            method.network, method.actions, params, scale, self.config, self.steps, self.curve
        )

    def weights(self) -> dict[str, np.ndarray]:
        return flatten("policy", (self.learner.params, self.learner.scale))

    def optimiser(self) -> dict[str, np.ndarray]:
        return flatten("optimiser", self.learner.moments)

    def put(self, tensors: dict[str, np.ndarray], path: Path) -> None:
        params, scale, moments = self.learner
        params, scale = unflatten("policy", (params, scale), tensors, path)
        self.learner = Learner(params, scale, unflatten("optimiser", moments, tensors, path))

    def load(self, path: Path) -> Trained:
        return load_policy(path)

    def _start(self, key: int, seed: int) -> Play:
        seeds = seed_keys(range(seed, seed + self.args.n_envs))
        return jit_start(self.env.core, seeds, jax.random.key(key, impl="threefry2x32"))


def main() -> None:
    """The command line."""
    try:
        train(tyro.cli(Args, prog="python -m agents.jaxrl.ppo"))
    except (ValueError, FileExistsError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
