"""A teacher that Ray's workers run, on this machine or on those of a cluster.

Each worker has the teacher loaded, is handed texts by Ray Data and answers batch by batch; this process
alone writes the store. Workers are given what one process takes at a time, so the batches, and with
them the vectors, are those of one process.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from ragdistill.encoder import Answer, pick_device
from ragdistill.errors import UserError
from ragdistill.models.resolve import ResolvedModel, resolve
from ragdistill_embedder.teacher import AT_ONCE, Batch, LocalTeacher

if TYPE_CHECKING:
    import ray.data

OPTION = "--ray"
_BLOCK = 1 << 16
"""Bytes of answers after which a worker hands them over: what is lost when a run is killed."""
_PATIENCE = 10.0
"""Seconds for a cluster to say that it is there."""
_MEND = "the same command goes on; leave --ray out to see it in one process"
_NOTHING = Answer(np.empty((0, 0), dtype=np.float32), [])


class ScatteredTeacher(LocalTeacher):
    """A model of which every worker has a copy; see ``Source``."""

    at_once = 1 << 20
    """The texts of one pipeline: Ray deals them out by :data:`~ragdistill_embedder.teacher.AT_ONCE`."""

    def __init__(
        self,
        model: ResolvedModel,
        device: str,
        *,
        max_length: int | None = None,
        workers: int,
    ) -> None:
        """
        Raises:
            UserError: Ray is not installed.
        """
        super().__init__(model, device, max_length=max_length)
        self._workers = workers
        try:
            import ray.data  # noqa: F401
        except ModuleNotFoundError as error:
            raise UserError(
                f"needs the Python package {error.name!r}",
                where=OPTION,
                mend="pip install 'ragdistill[ray]'",
            ) from error

    def meet(self, needed: Callable[[], bool]) -> None:
        """See ``Source``: if there is something to ask, the cluster has to be there."""
        if needed():
            _connect()

    @property
    def note(self) -> str:
        """See ``Source``."""
        return f" ({self._workers} Ray workers)"

    def answers(
        self, texts: Sequence[str], prompt: str, *, window: int | None = None
    ) -> Iterator[Batch]:
        """See ``Source``: batches come in whichever order workers finish them.

        Raises:
            UserError: no cluster is reached, or a worker fails, cannot load the teacher, or has another.
        """
        if not texts:
            return
        from ray.exceptions import RayError

        starts = range(0, len(texts), AT_ONCE)
        parts = [{"start": at, "texts": list(texts[at : at + AT_ONCE])} for at in starts]
        try:
            for row in self._pipeline(parts, prompt, window).iter_rows():
                yield _unpacked(row)
        except RayError as error:
            raise UserError(
                f"lost a worker ({type(error).__name__})", where=OPTION, mend=_MEND
            ) from error

    def seconds_per_token(self, texts: Sequence[str]) -> None:
        """See ``Source``: the workers' machines are not measured."""

    def _pipeline(
        self, parts: list[dict[str, Any]], prompt: str, window: int | None
    ) -> "ray.data.Dataset":
        import ray.data

        _connect()
        click.echo(f"Ray workers: {min(self._workers, len(parts))}", err=True)
        on_card = pick_device(self._device) == "cuda"
        dataset = ray.data.from_items(parts, override_num_blocks=len(parts))
        dataset.context.enable_progress_bars = False
        dataset.context.target_max_block_size = _BLOCK
        return dataset.map_batches(
            Worker,  # type: ignore[arg-type,unused-ignore]
            fn_constructor_kwargs={
                # Of a folder the whole path: workers have folders of their own.
                "reference": self.known_as,
                "identity": (self.model.weights_digest, self.model.tokenizer_digest),
                "device": "cuda" if on_card else "cpu",
                "max_length": self.max_length,
            },
            fn_kwargs={"prompt": prompt, "window": window},
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(self._workers, len(parts))),
            num_cpus=None if on_card else 1,
            num_gpus=1 if on_card else None,
        )


class Worker:
    """The teacher in a worker. What goes wrong is told as a row: an error would come as Ray's own, with
    pages of what it thinks of it."""

    def __init__(
        self, reference: str, identity: tuple[str, str], device: str, max_length: int
    ) -> None:
        self._fault = ""
        try:
            self._teacher = _loaded(reference, identity, device, max_length)
        except Exception as error:  # noqa: BLE001 - whatever it is, the first answer tells it
            self._fault = _told(error)

    def __call__(
        self, part: Any, prompt: str, window: int | None
    ) -> Iterator[dict[str, list[Any]]]:
        """Answers to one part of the texts, batch by batch."""
        if self._fault:
            yield _packed([], _NOTHING, 0, self._fault)
            return
        (start,), (texts,) = part["start"].to_pylist(), part["texts"].to_pylist()
        try:
            for places, answer, tokens in self._teacher.answers(texts, prompt, window=window):
                yield _packed([start + place for place in places], answer, tokens)
        except Exception as error:  # noqa: BLE001 - as above
            yield _packed([], _NOTHING, 0, _told(error))


def _loaded(
    reference: str, identity: tuple[str, str], device: str, max_length: int
) -> LocalTeacher:
    """
    Raises:
        UserError: it is not found here, or is another one here.
    """
    model = resolve(reference, kind="embedder")
    if (found := (model.weights_digest, model.tokenizer_digest)) != identity:
        what, mine, theirs = next(
            (what, mine, theirs)
            for what, mine, theirs in zip(("weights", "tokenizer"), found, identity, strict=True)
            if mine != theirs
        )
        raise UserError(
            f"a worker has another model by this name ({what} {mine[:12]}, not {theirs[:12]})",
            where=reference,
            mend="give all machines the same files",
        )
    return LocalTeacher(model, device, max_length=max_length)


def _told(error: Exception) -> str:
    """An error of a worker as one line."""
    if isinstance(error, UserError):
        return error.message
    said = str(error).strip().splitlines()
    what = f"a worker failed: {type(error).__name__}{f': {said[0]}' if said else ''}"
    return UserError(what, where=OPTION, mend=_MEND).message


def _packed(
    places: list[int], answer: Answer, tokens: int, fault: str = ""
) -> dict[str, list[Any]]:
    """A batch as one row of a table; arrays as their bytes, for texts differ in their runs."""
    states = answer.windows
    return {
        "fault": [fault],
        "places": [places],
        "tokens": [tokens],
        "vectors": [np.ascontiguousarray(answer.vectors, dtype=np.float32).tobytes()],
        "runs": [[len(each) for each in states]],
        "states": [
            b"".join(np.ascontiguousarray(each, dtype=np.float32).tobytes() for each in states)
        ],
    }


def _unpacked(row: dict[str, Any]) -> Batch:
    """What :func:`_packed` packed.

    Raises:
        UserError: a fault.
    """
    if row["fault"]:
        raise UserError(row["fault"])
    places, runs = list(row["places"]), list(row["runs"])
    vectors = np.frombuffer(row["vectors"], dtype=np.float32).reshape(len(places), -1)
    states: list[Any] = []
    if runs:
        flat = np.frombuffer(row["states"], dtype=np.float32).reshape(sum(runs), -1)
        states = np.split(flat, np.cumsum(runs)[:-1])
    return places, Answer(vectors, states), row["tokens"]


def _connect() -> None:
    """A session of Ray: the cluster of ``RAY_ADDRESS``, else one on this machine alone."""
    import ray

    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS") or "local"  # Ray would join whatever runs here already
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    os.environ.setdefault(
        "RAY_BACKEND_LOG_LEVEL", "fatal"
    )  # what Ray warns of nobody here can mend
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    try:
        _knock(address)
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()
        raise UserError(
            f"reaches no Ray cluster: {said[0] if said else type(error).__name__}",
            where=OPTION,
            mend="correct RAY_ADDRESS, or unset it to have workers on this machine",
        ) from error


def _knock(address: str) -> None:
    """Find out in seconds whether anybody is there, for Ray asks again for minutes.

    Raises:
        OSError: nobody is.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
