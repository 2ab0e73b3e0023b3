"""`crs-gym`: worlds, benchmarks, data sets of dialogues, judging them, and a server."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import tyro

from crs_gym.commands.benchmarks import Benchmark, Leaderboard
from crs_gym.commands.datasets import DataSetCommand, Generate
from crs_gym.commands.judging import Converse, Judge
from crs_gym.commands.rating import Rate
from crs_gym.commands.serving import Serve
from crs_gym.commands.showing import ShowDialogue
from crs_gym.commands.worlds import WorldCommand

Command = (
    Annotated[WorldCommand, tyro.conf.subcommand("world")]
    | Annotated[Benchmark, tyro.conf.subcommand("benchmark")]
    | Annotated[Leaderboard, tyro.conf.subcommand("leaderboard")]
    | Annotated[Generate, tyro.conf.subcommand("generate")]
    | Annotated[DataSetCommand, tyro.conf.subcommand("dataset")]
    | Annotated[ShowDialogue, tyro.conf.subcommand("show")]
    | Annotated[Judge, tyro.conf.subcommand("judge")]
    | Annotated[Converse, tyro.conf.subcommand("converse")]
    | Annotated[Rate, tyro.conf.subcommand("rate")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
)


def main(args: list[str] | None = None) -> None:
    """Entry point of the `crs-gym` command. Errors of the user's are told in one line."""
    command = tyro.cli(
        Command,
        config=(tyro.conf.OmitSubcommandPrefixes,),
        prog="crs-gym",
        description="Reinforcement-learning environments for conversational recommenders.",
        args=args,
    )
    try:
        command.run()
    except BrokenPipeError:
        # who reads has gone, as `head` does; nor can what is left be flushed at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    except KeyboardInterrupt:
        print("crs-gym: interrupted; what is finished stays", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, OSError, ImportError) as error:
        print(f"crs-gym: {error}", file=sys.stderr)
        raise SystemExit(1) from error
