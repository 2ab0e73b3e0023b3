"""The steps of training a recommender that writes: each is skipped where it was done before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from agents.lm import botplay, evaluate, grpo, models, ppo, sft
from crs_gym.evaluation import Result
from crs_gym.evaluation.benchmark import benchmark
from crs_gym.evaluation.results import read as read_result
from crs_gym.evaluation.results import write as write_result
from crs_gym.language.card import FINAL, Card, Role
from crs_gym.world import World

REFERENCES = ("random", "greedy", "belief-greedy", "icer", "oracle")
ENV = "crs/Dialogue-v0"


@dataclass(frozen=True)
class Plan:
    """What is trained, and how long.

    world: bundled name or world file. runs: folder of data and models. results: folder of results.
    dialogues: of the data set. few, few_epochs: how many of them those who then learn by talking
    have read, and how often. sft_epochs: how often the models are trained that read all.
    updates: of the learners. episodes: evaluation users. workers: that make the data set.
    bf16: compute in bfloat16, by default where that is fast.
    """

    world: str
    runs: Path
    results: Path
    dialogues: int = 32_000
    few: int = 4_000
    few_epochs: float = 8.0
    sft_epochs: float = 2.0
    updates: int = 30
    episodes: int = 1000
    workers: int = 2
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


def make_data(plan: Plan, world: World) -> Path:
    """Dialogues of the ICER recommender with training users whom it does not know."""
    from crs_gym.generation.run import generate
    from crs_gym.generation.settings import Settings

    settings = Settings(
        world=world.hash,
        dialogues=plan.dialogues,
        prior="cold",
        threshold=0.4,
        queries="either",
        offer="acceptance",
        draws=128,
    )
    generate(world, plan.data, settings, workers=plan.workers, progress=plan.progress)
    return plan.data


def supervised(plan: Plan, seed: int, role: Role = "recommender", everything: bool = False) -> Path:
    """A recommender, or a user, that says what those of the data set say.

    everything: of all dialogues, not of the first few.
    """
    name = "sft" if role == "recommender" else "sft-user"
    if everything:
        name += "-all"
    sft.train(
        sft.Args(
            data=plan.data,
            limit=None if everything else plan.few,
            held_out=0.02 if everything else 0.1,
            evaluate_every=500 if everything else 112,
            out=plan.folder(name, seed),
            role=role,
            seed=seed,
            epochs=plan.sft_epochs if everything else plan.few_epochs,
            bf16=plan.bf16,
            torch_threads=2 if everything else 1,
            resume=True,
            progress=plan.progress,
        )
    )
    return plan.folder(name, seed)


def untrained(plan: Plan, seed: int) -> Path:
    """The decoder as it is before supervised training."""
    from agents.lm.tiny import build_model

    folder = plan.folder("untrained", seed)
    if not folder.is_dir():
        tokenizer, model = models.load(plan.folder("sft", seed) / FINAL)
        size = model.config
        shape = size.hidden_size, size.num_hidden_layers, size.num_attention_heads
        models.save(build_model(tokenizer, *shape, seed), tokenizer, Card(), folder)
    return folder


def reinforced(plan: Plan, learner: str, seed: int, **changes: Any) -> Path:
    """A recommender trained further by talking: ppo-turns, ppo-dialogues or grpo.

    changes: arguments of the learner that differ from its defaults; `name` of the run.
    """
    out = plan.folder(changes.pop("name", learner), seed)
    common: dict[str, Any] = {
        "model": str(plan.folder("sft", seed)),
        "world": plan.world,
        "out": out,
        "seed": seed,
        "updates": plan.updates,
        "validation_episodes": 1024,
        "bf16": plan.bf16,
        "resume": True,
        "progress": plan.progress,
        **changes,
    }
    if learner == "grpo":
        grpo.train(grpo.Args(**common))
    else:
        ppo.train(ppo.Args(**common, variant=learner.removeprefix("ppo-")))  # type: ignore[arg-type]
    return out


def self_played(plan: Plan, seed: int, rounds: int, updates: int) -> tuple[Path, Path]:
    """Recommender and user, trained in turn against pools of each other's past versions."""
    return botplay.train(
        botplay.Args(
            model=str(plan.folder("sft", seed)),
            user_model=str(plan.folder("sft-user", seed)),
            world=plan.world,
            out=plan.folder("botplay", seed),
            seed=seed,
            rounds=rounds,
            updates=updates,
            bf16=plan.bf16,
            resume=True,
            progress=plan.progress,
        )
    )


def evaluated(
    plan: Plan,
    model: Path,
    policy: str,
    seed: int,
    user: str = "icer",
    temperature: float = 0.3,
    label: str = "icer",
) -> Result:
    """What a model scores; a result that is there already is read.

    Args:
        label: tells this user from others.
    """
    name = f"{policy}-{seed}-{label}-{plan.episodes}-{temperature:g}"
    marker = plan.runs / "evaluated" / name
    if marker.is_file():
        return read_result(plan.results / marker.read_text(encoding="utf-8"))
    result = evaluate.evaluate(
        evaluate.Args(
            model=model,
            policy=policy,
            user=user,
            supervised=plan.folder("sft", seed),
            world=plan.world,
            episodes=plan.episodes,
            training_seed=seed,
            temperature=temperature,
            bf16=plan.bf16,
            out=plan.results,
            progress=plan.progress,
        )
    )
    path = write_result(result, plan.results)
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text(str(path.relative_to(plan.results)), encoding="utf-8")
    return result


def references(plan: Plan, policies: Sequence[str] = REFERENCES) -> list[Result]:
    """Policies that say acts, on the same users."""
    kwargs = {"world": plan.world}
    results = benchmark(ENV, policies, plan.episodes, 0, kwargs, progress=plan.progress)
    for result in results:
        write_result(result, plan.results)
    return results
