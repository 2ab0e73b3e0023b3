"""What learners of language models can be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from agents.args import EnvKwargs
from crs_gym.world import DEFAULT_WORLD


@dataclass(kw_only=True)
class RunArgs:
    """Arguments of every training run of a language model."""

    out: Path
    """folder of the run"""
    seed: int = 0
    """of training, at least 0"""
    lora: int = 0
    """rank of LoRA's matrices (peft) in place of all weights; 0 trains all"""
    bf16: bool = False
    """compute in bfloat16: faster where the processor has instructions for it, slower elsewhere"""
    device: str = "auto"
    """auto (CUDA where there is one), cpu or cuda"""
    torch_threads: int = 1
    """of torch on a CPU"""
    resume: bool = False
    """go on from the newest checkpoint in `out`, or begin where there is none"""
    track: bool = False
    """log to Weights & Biases; offline when there is no API key and WANDB_MODE is not set"""
    wandb_project: str = "crs-gym"
    """project there"""
    progress: bool = True
    """show progress bars"""


@dataclass(kw_only=True)
class RLArgs(RunArgs):
    """Arguments that the reinforcement learners have in common."""

    model: str
    """what to start from: folder of a supervised run or model, or a hub name whose tokenizer has
    our marks"""
    world: str = DEFAULT_WORLD
    """name of a bundled world, or path of a world file"""
    user: str = "icer"
    """who is talked to, see `crs/Dialogue-v0`"""
    env_kwargs: EnvKwargs = field(default_factory=dict)
    """further arguments of the environment: JSON, or key=value pairs"""
    updates: int = 100
    """rollouts, each followed by an update"""
    batch_size: int = 256
    """conversations in a rollout"""
    group: int = 8
    """conversations with the same hidden user, and the same luck, each of which is measured against
    the others; divides the batch size of each process"""
    gae_lambda: float = 0.5
    """of generalised advantages, from turn to turn: at 1 a turn is credited with all that comes
    after it, at 0 with its reward and what is then expected"""
    dense: float = 1.0
    """weight, while training, of how near recommendations came to being accepted
    (`Exchange.near`), against the others': says more of each turn than whether one was"""
    illegal_cost: float = 0.3
    """taken off the reward of a turn that was not understood or not legal, while training: what it
    costs in the end, a chance that was not used, is hardly to be seen in one conversation"""
    learn: Literal["acts", "turns"] = "acts"
    """which tokens of a recommender's turns are credited with what follows: those of the act, which
    is all that users of rules answer to; or all, words included"""
    learning_rate: float = 5e-4
    """of Adam at the beginning; it falls linearly to a tenth"""
    adam_eps: float = 1e-3
    """of Adam: above the size of most gradients, so that those of a weight count by their size, and
    noise in rarely used weights is not blown up"""
    kl_coef: float = 0.01
    """weight of the divergence from the model that was started from; 0 for none"""
    temperature: float = 0.3
    """of sampling while training; the policy that learns is the model at this temperature"""
    max_turn: int = 64
    """tokens of a turn; a longer one is cut off there. A hub model's tokenizer, for which a title
    is several, needs more: the figure `cut` tells"""
    validate_every: int = 10
    """updates between conversations with held-out users; at each a checkpoint is written"""
    validation_episodes: int = 256
    """of these conversations, always the same; 0 for none"""
    keep_checkpoints: int = 2
    """how many checkpoints to keep, the newest"""
