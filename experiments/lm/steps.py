"""The steps of training recommenders that write, and what they score: done once, then found again.

A step knows the settings that its model follows from, those of the steps before it included. What a
model scores is kept with these: a result is found again where the model itself is long gone, and
measured anew when anything that its model follows from has changed. The same settings give another
model on another processor, which rounds otherwise: a model that is here counts, not one that was.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from agents import store
from agents.lm import botplay, evaluate, grpo, models, ppo, sft
from agents.lm.args import RunArgs
from crs_gym.evaluation import Result
from crs_gym.evaluation.benchmark import benchmark
from crs_gym.evaluation.results import read as read_result
from crs_gym.evaluation.results import write as write_result
from crs_gym.generation.settings import Settings
from crs_gym.language.card import FINAL, Card, Role
from crs_gym.world import load_world

REFERENCES = ("random", "greedy", "belief-greedy", "icer", "oracle")
ENV = "crs/Dialogue-v0"
OF_ALL = "-all"
"""How the names of models end that have read all dialogues, and of learners that start from one."""
PPO_VARIANTS: dict[str, Literal["turns", "dialogues"]] = {
    "ppo-turns": "turns",
    "ppo-dialogues": "dialogues",
    "ppo-bot": "turns",
}


@dataclass(frozen=True)
class Plan:
    """What is trained, and how long.

    world: bundled name or world file. runs: folder of data and models. results: folder of results.
    dialogues: of the data set. few, few_epochs: how many of them those who then learn by talking
    have read, and how often. sft_epochs: how often those are trained that read all.
    updates: of the learners. all_updates: of those that start from a model which has read all.
    episodes: evaluation conversations. workers: that make the data set.
    threads: of each training and evaluation. processes: that share the training which reads
    everything, each with so many threads.
    bf16: compute in bfloat16, by default where that is fast.
    """

    world: str
    runs: Path
    results: Path
    dialogues: int = 32_000
    few: int = 4_000
    few_epochs: float = 8.0
    sft_epochs: float = 1.5
    updates: int = 30
    all_updates: int = 100
    episodes: int = 4000
    workers: int = 2
    threads: int = 1
    processes: int = 2
    bf16: bool = field(default_factory=models.fast_bf16)
    progress: bool = True

    @classmethod
    def of(cls, args: Any) -> Plan:
        """From an experiment's arguments of the same names."""
        names = [field.name for field in fields(cls) if hasattr(args, field.name)]
        return cls(**{name: getattr(args, name) for name in names})

    @property
    def data(self) -> Path:
        return self.runs / "dialogues"

    def folder(self, name: str, seed: int) -> Path:
        """Of a run."""
        return self.runs / f"{name}-{seed}"


@dataclass(frozen=True)
class Step:
    """A model that is made when it is needed, and only once.

    folder: of its run. recipe: the settings that it follows from, step by step. train: makes it.
    """

    folder: Path
    recipe: dict[str, dict[str, Any]]
    train: Callable[[], object]

    def content(self) -> str | None:
        """The name and content of the model, None where there is none."""
        there = (self.folder / FINAL / "config.json").is_file()
        return models.name_of(self.folder / FINAL) if there else None

    def made(self) -> Path:
        """The folder, after training where that was not done before."""
        if not (self.folder / FINAL / "config.json").is_file():
            self.train()
        return self.folder


def supervised(plan: Plan, seed: int, role: Role = "recommender", everything: bool = False) -> Step:
    """A recommender, or a user, that says what those of the data set say.

    everything: of all dialogues, not of the first few, in `plan.processes` side by side.
    """
    name = "sft" if role == "recommender" else "sft-user"
    if everything:
        name += "-all"
    processes = plan.processes if everything else 1
    args = sft.Args(
        data=plan.data,
        limit=None if everything else plan.few,
        held_out=0.02 if everything else 0.1,
        evaluate_every=500 if everything else 112,
        out=plan.folder(name, seed),
        role=role,
        seed=seed,
        epochs=plan.sft_epochs if everything else plan.few_epochs,
        batch_size=sft.Args.batch_size // processes,
        **_common(plan),
    )

    def train() -> None:
        make_data(plan)
        if processes == 1:
            sft.train(args)
        else:
            train_side_by_side(args, processes)

    data = {"dialogues": dataclasses.asdict(_data_settings(plan))}
    counts = _what_counts(plan, args)
    if processes > 1:
        counts["processes"] = processes
    return Step(args.out, {**data, name: counts}, train)


def train_side_by_side(args: sft.Args, processes: int) -> None:
    """Supervised training in several processes, with `batch_size` dialogues of a batch in each.

    Raises:
        subprocess.CalledProcessError: training failed; why is on the terminal.
    """
    launch = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, "-m", *launch, "-m", sft.__name__, *command_line(args)]
    subprocess.run(command, check=True)


def command_line(args: sft.Args) -> list[str]:
    """The options that `python -m agents.lm.sft` takes these arguments from."""
    usual, options = sft.Args(data=args.data), ["--data", str(args.data)]
    for name in (one.name for one in fields(args)):
        value, option = getattr(args, name), name.replace("_", "-")
        if value == getattr(usual, name):
            continue
        if isinstance(value, bool):
            options.append(f"--{option}" if value else f"--no-{option}")
        else:
            options += [f"--{option}", str(value)]
    return options


def make_data(plan: Plan) -> Path:
    """Dialogues of the ICER recommender with training users whom it does not know."""
    from crs_gym.generation.run import generate

    world, settings = load_world(plan.world), _data_settings(plan)
    generate(world, plan.data, settings, workers=plan.workers, progress=plan.progress)
    return plan.data


def _data_settings(plan: Plan) -> Settings:
    return Settings(
        world=load_world(plan.world).hash,
        dialogues=plan.dialogues,
        prior="cold",
        threshold=0.4,
        queries="either",
        offer="acceptance",
        draws=128,
    )


def recommender(plan: Plan, name: str, seed: int) -> Step:
    """untrained, sft, sft-all, or one of the learners, see `reinforced`.

    Raises:
        KeyError: none of these.
    """
    if name == "untrained":
        return untrained(plan, seed)
    if name in ("sft", "sft" + OF_ALL):
        return supervised(plan, seed, everything=name != "sft")
    return reinforced(plan, name, seed)


def untrained(plan: Plan, seed: int) -> Step:
    """The decoder as it is before supervised training."""
    from agents.lm.tiny import build_model

    start, folder = supervised(plan, seed), plan.folder("untrained", seed)

    def train() -> None:
        tokenizer, model = models.load(start.made() / FINAL)
        size = model.config
        shape = size.hidden_size, size.num_hidden_layers, size.num_attention_heads
        models.save(build_model(tokenizer, *shape, seed), tokenizer, Card(), folder / FINAL)

    return Step(folder, {**start.recipe, "untrained": {}}, train)


def reinforced(plan: Plan, learner: str, seed: int) -> Step:
    """A recommender trained further by talking.

    learner: ppo-turns, ppo-dialogues or grpo, all with ICER users; or ppo-bot, which is ppo-turns
        with the supervised user (bot-play). They start from the supervised model of their seed;
        with "-all" at the end, from the one of all dialogues.

    Raises:
        KeyError: another learner.
    """
    kind = learner.removesuffix(OF_ALL)
    everything = kind != learner
    start = supervised(plan, seed, everything=everything)
    user = bot_user(plan) if kind == "ppo-bot" else None
    given: dict[str, Any] = {
        "model": str(start.folder),
        "world": plan.world,
        "out": plan.folder(learner, seed),
        "seed": seed,
        "updates": plan.all_updates if everything else plan.updates,
        **({"user": str(user.folder)} if user else {}),
        **_common(plan),
    }
    args: ppo.Args | grpo.Args = (
        grpo.Args(**given) if kind == "grpo" else ppo.Args(**given, variant=PPO_VARIANTS[kind])
    )

    def train() -> None:
        for step in (start, user):
            if step is not None:
                step.made()
        if isinstance(args, grpo.Args):
            grpo.train(args)
        else:
            ppo.train(args)

    before = {**start.recipe, **(user.recipe if user else {})}
    return Step(args.out, {**before, learner: _what_counts(plan, args)}, train)


def bot_user(plan: Plan) -> Step:
    """The supervised user of bot-play: one model, whom the recommenders of all seeds talk to."""
    return supervised(plan, 0, "user")


def self_played(plan: Plan, seed: int, rounds: int, updates: int) -> tuple[Step, Step]:
    """Recommender and user, trained in turn against pools of each other's past versions."""
    starts = supervised(plan, seed), bot_user(plan)
    args = botplay.Args(
        model=str(starts[0].folder),
        user_model=str(starts[1].folder),
        world=plan.world,
        out=plan.folder("botplay", seed),
        seed=seed,
        rounds=rounds,
        updates=updates,
        **_common(plan),
    )

    def train() -> None:
        for step in starts:
            step.made()
        botplay.train(args)

    recipe = {**starts[0].recipe, **starts[1].recipe, "self-play": _what_counts(plan, args)}
    recommender, user = (args.out / f"{role}-{rounds}" for role in ("recommender", "user"))
    return Step(recommender, recipe, train), Step(user, recipe, train)


def _common(plan: Plan) -> dict[str, Any]:
    return {
        "bf16": plan.bf16,
        "torch_threads": plan.threads,
        "resume": True,
        "progress": plan.progress,
    }


def _what_counts(plan: Plan, args: RunArgs) -> dict[str, Any]:
    """Of a run's arguments, those that its model follows from. What was made by other steps, and
    the world, is in their recipes.
    """
    others = models.FREE | {"bf16", "world"}
    return {
        name: value
        for name, value in models.settings(args).items()
        if name not in others and not str(value).startswith(str(plan.runs))
    }


def evaluated(
    plan: Plan,
    step: Step,
    policy: str,
    seed: int,
    user: Step | None = None,
    temperature: float = 0.3,
    label: str = "icer",
) -> Result:
    """What a model scores; where that was measured before, and all it follows from is the same, it
    is read. If the model is here, and is not the one that was measured, it is measured.

    Args:
        user: a model that is talked to, in place of ICER users.
        label: tells this user from others.
    """
    found = measured(plan, step, policy, seed, user, temperature, label)
    if found is not None:
        return found
    result = evaluate.evaluate(
        evaluate.Args(
            model=step.made(),
            policy=policy,
            user=str(user.made()) if user else "icer",
            supervised=supervised(plan, seed, everything=policy.endswith(OF_ALL)).made(),
            world=plan.world,
            episodes=plan.episodes,
            training_seed=seed,
            temperature=temperature,
            bf16=plan.bf16,
            torch_threads=plan.threads,
            out=plan.results,
            progress=plan.progress,
        )
    )
    record = _record(plan, policy, seed, label, temperature)
    _keep(plan, record, result, _recipe(step, user))
    return result


def measured(
    plan: Plan,
    step: Step,
    policy: str,
    seed: int,
    user: Step | None = None,
    temperature: float = 0.3,
    label: str = "icer",
) -> Result | None:
    """As `evaluated`, but None where that was not measured before, with a warning where another
    model was.
    """
    record = _record(plan, policy, seed, label, temperature)
    found, here = _kept(plan, record, _recipe(step, user)), step.content()
    if found is None or here is None or found.extra.get("model") == here:
        return found
    warnings.warn(
        f"{record} was measured with another model than that in {step.folder}, which counts: move "
        "it away to have the kept result",
        stacklevel=2,
    )
    return None


def references(
    plan: Plan,
    policies: Sequence[str] = REFERENCES,
    play: bool = True,
) -> list[Result]:
    """Policies that say acts, on the same users; each is played once, and then read.

    Args:
        play: whether those are played that were not before.
    """
    kwargs = {"world": plan.world}
    recipe = {"world": load_world(plan.world).hash}
    results = []
    for policy in policies:
        record = f"{policy}-{plan.episodes}"
        result = _kept(plan, record, recipe)
        if result is None and play:
            (result,) = benchmark(ENV, [policy], plan.episodes, 0, kwargs, progress=plan.progress)
            _keep(plan, record, result, recipe)
        if result is not None:
            results.append(result)
    return results


def _recipe(step: Step, user: Step | None) -> dict[str, Any]:
    return {**step.recipe, **(user.recipe if user else {})}


def _record(plan: Plan, policy: str, seed: int, label: str, temperature: float) -> str:
    return f"{policy}-{seed}-{label}-{plan.episodes}-{temperature:g}"


def _kept(plan: Plan, record: str, recipe: dict[str, Any]) -> Result | None:
    """A result that was kept under this name, if all that it follows from is the same."""
    path = plan.results / "measured" / f"{record}.json"
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["recipe"] != json.loads(json.dumps(recipe)):
        return None
    return read_result(plan.results / found["result"])


def _keep(plan: Plan, record: str, result: Result, recipe: dict[str, Any]) -> None:
    written = write_result(result, plan.results)
    path = plan.results / "measured" / f"{record}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    store.write_json(path, {"result": str(written.relative_to(plan.results)), "recipe": recipe})
