"""Gymnasium environments: a recommender talks to one simulated ICER user."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, SupportsFloat

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from crs_gym.acts import ReadableRecommenderAct, ReadableUserAct, readable_turns
from crs_gym.dialogue import conversation
from crs_gym.envs.actions import (
    ActionCodec,
    CandidateActions,
    EmbeddingActions,
    ItemActions,
    MacroActions,
)
from crs_gym.envs.core import (
    Core,
    Frame,
    Talk,
    believer,
    info_of,
    jit_begin,
    jit_proceed,
    open_talk,
    unpack,
)
from crs_gym.envs.observations import (
    BeliefObservation,
    HistoryObservation,
    IndexObservation,
    ObservationCodec,
    layout,
)
from crs_gym.inference import Inference, Metropolis, PriorSamples
from crs_gym.simulation import Simulator, acceptance_reward, seed_key
from crs_gym.simulation.simulator import PriorKind, Reward, Split
from crs_gym.world import DEFAULT_WORLD, World, load_world


class IcerEnv(gymnasium.Env[np.ndarray, Any]):
    """
    ## Description

    A recommender talks to a user about items (films). The user follows the ICER behaviour models:
    a hidden embedding phi_u decides what is chosen, answered, criticised and accepted. In each
    turn the recommender either recommends a slate of `slate_size` items, asks which of them the
    user prefers (item query), or asks whether the user wants more or less of a soft attribute than
    an item has (attribute query). The talk ends when an item is accepted, when the user leaves, or
    after `max_turns` turns.

    ## Action Space

    By `action`:

    | value | space | meaning |
    |---|---|---|
    | `"items"` | `MultiDiscrete([3, N, ..., N, G])` | mode (0 recommend, 1 item query, 2 attribute query), k items, attribute |
    | `"candidates"` | `Discrete(2 C(C, k) + C G)` | slates of the C items most likely to be accepted: recommendations, then item queries, then attribute queries; see `CandidateActions` |
    | `"embedding"` | `Box(-1, 1, (3 + d + G,))` | scores of the modes, a point whose nearest items (inner product) make the slate, scores of the attributes |

    Repeated items and, in recommendations, items rejected before are taken out of the slate. For
    discrete spaces `info["action_mask"]` and `action_masks()` say what may be done, in the layout
    of sb3-contrib's `MaskablePPO`.

    ## Observation Space

    `Box(-b, b, (D,), float32)`; `env.unwrapped.layout` maps block names to slices. b bounds every
    feature of the world, at least 10.

    `observation="history"`:

    | block | size | range | content |
    |---|---|---|---|
    | turn | 1 | 0 to 1 | turns completed / max_turns |
    | prior_mean, prior_std | d each | | prior that the recommender is given |
    | history | max_turns x (11 + k (d + 2) + 2 G) | | a row a turn: act (one-hot 3), item embeddings (k d), places filled (k), attribute asked (one-hot G), response (one-hot 6), place (one-hot k), attribute of the response (one-hot G), direction (-1, 0, 1) |

    `observation="index"`: int32, bounded by the number of items. It does not hold the prior.

    | block | size | content |
    |---|---|---|
    | turn | 1 | turns completed |
    | history | max_turns x (k + 7) | a row a turn: kind of the act, k items, attribute, direction; kind of the response, place, attribute, direction; -1 where there is none, 0 for no direction |

    `observation="belief"`:

    | block | size | range | content |
    |---|---|---|---|
    | turn, questions | 1 each | 0 to 1 | turns, queries so far / max_turns |
    | certainty | 1 | 0 to 1 | share of the variance of utilities under the prior that is gone |
    | mean, std | d each | | belief over phi_u |
    | top_utility, top_utility_std | C each | utility deviations | of the C items most likely to be accepted: expected utility above the mean item, and its deviation |
    | top_acceptance | C | 0 to 1 | probability that each would be accepted if it were offered alone |
    | target_mean, target_std | G each | deviations over items | attributes of the target item under the belief |
    | item_question_value | 1 | utility; at least 0 but for rounding | what the answer to the best item query found is worth: its EVOI |
    | question_value | G | utility; at least 0 but for rounding | what the answer to each attribute query is worth: its EVOI |

    ## Rewards

    `reward(simulator, state, turn)`, by default the accepted item's utility on a scale where the
    user's mean item is 0 and the best is 1, minus `turn_cost` in every turn.

    ## Starting State

    A user of the split is drawn, then phi_u from that user's prior P_U. Episode n after
    `reset(seed=s)` depends on s and n alone.

    ## Episode End

    Terminated when the user accepts or leaves; truncated after `max_turns` turns.

    ## Information

    At reset and step: `turn` (int), `user_id` (int, row of the world), `accepted_item` (int, -1 for
    none), `quality` (float, utility of the accepted item on the scale above, else 0), `left` (bool),
    `is_success` (bool, as SB3's evaluation reads it), and `action_mask` (int8) for discrete spaces.

    ## Arguments

    | argument | default | meaning |
    |---|---|---|
    | `world` | `"films"` | bundled name, path of a world file, or a `World` |
    | `action` | `"items"` | see Action Space |
    | `observation` | `"history"` | see Observation Space |
    | `slate_size` | 2 | places in a slate, at least 2 |
    | `max_turns` | 7 | turn limit |
    | `prior` | `"cold"` | the recommender knows the population (`"cold"`) or this user's P_U (`"personal"`) |
    | `split` | `"train"` | users of the `"train"` or the `"evaluation"` split |
    | `turn_cost` | 0.02 | subtracted from the reward in each turn |
    | `user_model` | None | parameters of `UserModel` that differ from the world's, by name |
    | `reward` | acceptance | a function as above |
    | `belief` | `"metropolis"` | how the belief is held: `"metropolis"` draws of the posterior, or `"prior-samples"`, 32 times as many weighted draws of the prior |
    | `belief_samples` | 128 | samples of the belief that queries and features are computed from |
    | `candidates` | 10 | C |
    | `user_pool` | 0 | how many users are drawn beforehand for resets to choose from: faster where steps cost little; 0 draws a new phi_u at every reset |
    | `render_mode` | None | `"ansi"`: `render()` gives the conversation in words |

    ## Version History

    * v0: first version. What changes an episode's course, observations or rewards gets a new one.
    """  # noqa: E501

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012
    _actions: ClassVar[tuple[str, ...]] = ("items", "candidates", "embedding")

    def __init__(
        self,
        world: str | World = DEFAULT_WORLD,
        action: Literal["items", "candidates", "embedding"] = "items",
        observation: Literal["history", "index", "belief"] = "history",
        slate_size: int = 2,
        max_turns: int = 7,
        prior: PriorKind = "cold",
        split: Split = "train",
        turn_cost: float = 0.02,
        user_model: dict[str, float] | None = None,
        reward: Reward = acceptance_reward,
        belief: Literal["metropolis", "prior-samples"] = "metropolis",
        belief_samples: int = 128,
        candidates: int = 10,
        user_pool: int = 0,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"unknown render_mode {render_mode!r}; there are None and 'ansi'")
        self.world = load_world(world)
        self.render_mode = render_mode
        simulator = Simulator.of(
            self.world,
            slate_size=slate_size,
            max_turns=max_turns,
            prior=prior,
            split=split,
            turn_cost=turn_cost,
            reward=reward,
            user_model=user_model,
            user_pool=user_pool,
        )
        if not slate_size <= candidates <= self.world.n_items:
            raise ValueError(
                f"candidates must be between slate_size ({slate_size}) and the number of items "
                f"({self.world.n_items}), not {candidates}"
            )
        observer = self._observation_codec(observation, candidates)
        bound = float(np.ceil(_largest_feature(self.world)))
        if observer.dtype == np.int32:
            bound = float(max(self.world.n_items, self.world.n_attributes, max_turns))
        self.core = Core(
            simulator=simulator,
            inference=_inference(belief, belief_samples, self.world.dim),
            bound=jnp.float32(bound),
            codec=self._action_codec(action, candidates, slate_size),
            observer=observer,
        )
        self._seed_key = seed_key(0)
        self._episode = -1
        self.talk: Talk | None = None
        self._mask: np.ndarray | None = None

        self.layout = self._layout()
        size = max(place.stop for place in self.layout.values())
        self.action_space = self.core.codec.space(simulator)
        self.observation_space = _box(bound, size, observer.dtype)
        self._action_dtype = np.float32 if isinstance(self.action_space, spaces.Box) else np.int32

    def _action_codec(self, action: str, candidates: int, slate_size: int) -> ActionCodec:
        codecs: dict[str, ActionCodec] = {
            "items": ItemActions(),
            "candidates": CandidateActions(candidates, slate_size),
            "embedding": EmbeddingActions(),
            "macro": MacroActions(),
        }
        if action not in self._actions:
            raise ValueError(f"unknown action {action!r}; there are {', '.join(self._actions)}")
        return codecs[action]

    def _observation_codec(self, observation: str, candidates: int) -> ObservationCodec:
        codecs: dict[str, ObservationCodec] = {
            "history": HistoryObservation(),
            "index": IndexObservation(),
            "belief": BeliefObservation(candidates),
        }
        if observation not in codecs:
            raise ValueError(f"unknown observation {observation!r}; there are {', '.join(codecs)}")
        return codecs[observation]

    def _layout(self) -> dict[str, slice]:
        names: list[str] = []

        def shapes(key: jax.Array) -> list[jax.Array]:
            talk = believer(self.core, open_talk(self.core, key))
            blocks = self.core.observer.encode(talk)
            names.extend(blocks)  # as a pytree, a dictionary would come back sorted
            return list(blocks.values())

        blocks = jax.eval_shape(shapes, self._seed_key)
        return layout({n: block.shape for n, block in zip(names, blocks, strict=True)})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts the next episode; with a seed, the first episode of that seed."""
        super().reset(seed=seed)
        if seed is not None or self._episode < 0:
            self._seed_key, self._episode = seed_key(self.np_random), -1
        self._episode += 1
        self.talk, packed = jit_begin(self.core, self._seed_key, np.int32(self._episode))
        observation, info = self.show(unpack(packed))
        return observation, info

    def step(self, action: Any) -> tuple[np.ndarray, SupportsFloat, bool, bool, dict[str, Any]]:
        """One turn.

        Raises:
            ValueError: an action outside the action space.
            gymnasium.error.ResetNeeded: before the first reset.
        """
        if self.talk is None:
            raise gymnasium.error.ResetNeeded("call reset before step")
        if not self.action_space.contains(action):
            raise ValueError(f"action {action!r} is not in {self.action_space}")
        action = np.asarray(action, self._action_dtype)
        self.talk, packed = jit_proceed(self.core, self.talk, action)
        frame = unpack(packed)
        observation, info = self.show(frame)
        ends = bool(frame.terminated), bool(frame.truncated)
        return observation, float(frame.reward), *ends, info

    def action_masks(self) -> np.ndarray:
        """(n,) bool, what may be done now, in the layout of sb3-contrib's MaskablePPO.

        Raises:
            AttributeError: the action space is continuous.
            gymnasium.error.ResetNeeded: before the first reset.
        """
        if isinstance(self.action_space, spaces.Box):
            raise AttributeError('there are no masks for action="embedding"')
        if self._mask is None:
            raise gymnasium.error.ResetNeeded("call reset before action_masks")
        return self._mask.astype(bool)

    def turns(self) -> list[tuple[ReadableRecommenderAct, ReadableUserAct]]:
        """The acts and responses of the current episode in readable form."""
        if self.talk is None:
            return []
        return readable_turns(jax.device_get(self.talk.state.history))

    def render(self) -> str | None:
        """The conversation so far in words, for `render_mode="ansi"`."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() was called without a render_mode")
            return None
        if self.talk is None:
            return ""
        return conversation(jax.device_get(self.talk.state.history), self.world)

    def show(self, frame: Frame) -> tuple[np.ndarray, dict[str, Any]]:
        """Observation and info of a frame on the host."""
        info = info_of(frame)
        if frame.mask is not None:
            self._mask = info["action_mask"].copy()
        return np.array(frame.observation), info

    def __getstate__(self) -> dict[str, Any]:
        # typed random keys do not pickle; their data does
        state = dict(self.__dict__, _seed_key=np.asarray(jax.random.key_data(self._seed_key)))
        if self.talk is not None:
            key = np.asarray(jax.random.key_data(self.talk.state.key))
            state["talk"] = self.talk._replace(state=self.talk.state._replace(key=key))
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._seed_key = wrap_key(self._seed_key)
        if self.talk is not None:
            past = self.talk.state
            self.talk = self.talk._replace(state=past._replace(key=wrap_key(past.key)))


class IcerMacroEnv(IcerEnv):
    """
    ## Description

    `crs/Icer-v0` with the hard part taken out: the agent decides *what kind* of thing to do, the
    belief fills in the items. The smallest environment in which to learn when to ask and when to
    recommend.

    ## Action Space

    `Discrete(2 + G)`: 0 recommends the items most likely to be accepted, 1 asks the item query of
    highest EVOI that a quick search finds, 2 + g asks about attribute g, of the item for which the
    answer is worth most.

    ## Observation Space

    As in `crs/Icer-v0`, `observation="belief"` by default.

    ## Rewards, Starting State, Episode End, Information

    As in `crs/Icer-v0`.

    ## Arguments

    Those of `crs/Icer-v0` but `action`.

    ## Version History

    * v0: first version. What changes an episode's course, observations or rewards gets a new one.
    """

    _actions: ClassVar[tuple[str, ...]] = ("macro",)

    def __init__(
        self,
        world: str | World = DEFAULT_WORLD,
        observation: Literal["history", "index", "belief"] = "belief",
        **arguments: Any,
    ) -> None:
        if "action" in arguments:
            raise TypeError("crs/IcerMacro-v0 has no argument 'action'; crs/Icer-v0 has")
        super().__init__(world, action="macro", observation=observation, **arguments)  # type: ignore[arg-type]


def _inference(belief: str, samples: int, dim: int) -> Inference:
    if belief == "metropolis":
        return Metropolis.of(samples)
    if belief == "prior-samples":
        return PriorSamples.of(32 * samples, dim, draws=samples)
    raise ValueError(f"unknown belief {belief!r}; there are metropolis, prior-samples")


def _box(bound: float, size: int, dtype: Any) -> spaces.Box:
    low, high = (np.asarray(x, dtype).item() for x in (-bound, bound))
    return spaces.Box(low, high, (size,), dtype)


def _largest_feature(world: World) -> float:
    arrays = (world.item_embeddings, world.attribute_scores, world.user_mean)
    return max(10.0, *(float(np.abs(a).max()) for a in arrays))


def wrap_key(data: Any) -> jax.Array:
    """The typed key of a key's data."""
    return jax.random.wrap_key_data(jnp.asarray(data), impl="threefry2x32")
