"""Replies on disk, found by what was asked of whom.

One small JSON file for each reply, in 256 folders by the first byte of the key: a rename is atomic
on any file system and needs no lock, a damaged file spoils one reply, not all, and at 10^6 replies
a folder holds 4,000 files.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from crs_gym.language.model import Failure, LanguageModel, Reply, Request, in_order, stream
from crs_gym.language.usage import Usage


def key(name: str, request: Request) -> str:
    """SHA-256 in hexadecimal, the same for equal (name, request) and only for those."""
    asked = [name, request.as_json()]
    canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


class ReplyCache:
    """A folder of replies, shared by any number of models, threads and processes.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"cannot make the cache folder {folder} ({error.strerror}): name another"
            ) from error

    def path(self, name: str, request: Request) -> Path:
        """Where the reply to a request is kept."""
        digest = key(name, request)
        return self.folder / digest[:2] / f"{digest[2:]}.json"

    def get(self, name: str, request: Request) -> Reply | None:
        """The reply to a request; None where there is none, or its file is damaged.

        Raises:
            OSError: there is a file that may not be read.
        """
        path = self.path(name, request)
        try:
            entry = json.loads(path.read_bytes())
            if (entry["model"], entry["request"]) != (name, request.as_json()):
                return None
            return _reply(**entry["reply"])
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OSError(
                f"cannot read the cached reply {path} ({error.strerror}): "
                "mend its permissions or name another cache folder"
            ) from error
        except (ValueError, KeyError, TypeError, RecursionError):
            return None

    def put(self, name: str, request: Request, reply: Reply) -> Reply:
        """Keeps a reply, unless another process was first; returns the one that is kept.

        Raises:
            OSError: it could not be written, as on a full disk; nothing else is lost.
        """
        path = self.path(name, request)
        entry = {"model": name, "request": request.as_json(), "reply": asdict(reply)}
        temporary: str | None = None
        try:
            path.parent.mkdir(exist_ok=True)
            handle, temporary = tempfile.mkstemp(".tmp", dir=path.parent)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                json.dump(entry, file)
            return self._publish(temporary, path, name, request, reply)
        except OSError as error:
            raise OSError(
                f"cannot write to the cache folder {self.folder} ({error.strerror or error}): free "
                "some space there or name another folder; the replies before this one are kept"
            ) from error
        finally:
            if temporary is not None:
                Path(temporary).unlink(missing_ok=True)

    def _publish(
        self, temporary: str, path: Path, name: str, request: Request, reply: Reply
    ) -> Reply:
        try:
            os.link(temporary, path)  # unlike a rename, fails where there is a file already
        except FileExistsError:
            if (kept := self.get(name, request)) is not None:
                return kept
            os.replace(temporary, path)
        except OSError:  # a file system without hard links
            os.replace(temporary, path)
        return reply


class CachedModel:
    """A model that is asked each request once, ever.

    Replies are written as they come, so that a killed run goes on where it was; failures are not
    kept. Equal requests within one call are asked once too.
    """

    def __init__(
        self, model: LanguageModel, folder: Path, usage: Usage | None = None, batch_size: int = 16
    ) -> None:
        self._model, self._cache, self._batch_size = model, ReplyCache(folder), batch_size
        self.usage = usage if usage is not None else Usage()

    @property
    def name(self) -> str:
        return self._model.name

    def generate(self, requests: Sequence[Request]) -> list[Reply | Failure]:
        return in_order(self.stream(requests))

    def stream(self, requests: Sequence[Request]) -> Iterator[tuple[int, Reply | Failure]]:
        """First what the cache knows, then what the model answers, each as soon as it is there."""
        missing: dict[Request, list[int]] = {}
        for at, request in enumerate(requests):
            if request in missing:
                missing[request].append(at)
            elif (reply := self._cache.get(self.name, request)) is not None:
                self.usage.add(cache_hits=1)
                yield at, reply
            else:
                missing[request] = [at]
        asked = list(missing)
        for which, answer in stream(self._model, asked, self._batch_size):
            request = asked[which]
            if isinstance(answer, Reply):
                answer = self._cache.put(self.name, request, answer)
            self.usage.add(cache_hits=len(missing[request]) - 1)
            for at in missing[request]:
                yield at, answer


def _reply(text: str, finish: str, prompt_tokens: int, completion_tokens: int) -> Reply:
    counts = (prompt_tokens, completion_tokens)
    if not isinstance(text, str) or any(type(count) is not int for count in counts):
        raise TypeError("not a reply")
    if finish not in ("stop", "length"):
        raise ValueError("not a reply")
    ending: Literal["stop", "length"] = "stop" if finish == "stop" else "length"
    return Reply(text, ending, prompt_tokens, completion_tokens)
