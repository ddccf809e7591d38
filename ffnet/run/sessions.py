"""What the tables say about the processes that wrote a run: when, and on how many cores.

A study that is resumed has several sessions. They are stored in trials.parquet as JSON, in the
file's metadata under the key `ffnet.sessions`. Tables of earlier versions have none.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from ffnet.errors import InputError
from ffnet.spec.base import Values
from ffnet.spec.validation import explain

KEY = b"ffnet.sessions"


class Session(BaseModel):
    """One process that ran a study or trained one net, until its last write of the tables.

    Attributes:
        begun_at: when study.json was written, before Ray started.
        trials_at: when a worker began the first trial; None while none has.
        written_at: when the tables were written the last time.
        slots: how many trials could run at the same time; None on a cluster that grows.
        cpus: CPUs of a trial.
        lost_seconds: seconds of workers that led to no report, because the worker was lost, the
            trial failed, or the study was stopped.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    begun_at: AwareDatetime
    trials_at: AwareDatetime | None = None
    written_at: AwareDatetime
    slots: int | None = Field(None, ge=1, lt=2**31)
    cpus: float = Field(1, gt=0, lt=2**31)
    lost_seconds: float = Field(0, ge=0, lt=2**53)

    @classmethod
    def beginning(cls, document: Values, slots: int | None, cpus: float) -> Self:
        """The session that begins now.

        Args:
            document: the content of study.json. It says when this process began the study.
            slots: how many trials can run at the same time; None if this is not known.
            cpus: CPUs of a trial.
        """
        now = datetime.now(UTC)
        resumed = document.get("resumed") or [{}]
        begun = resumed[-1].get("at") or document.get("started_at")
        begun_at = datetime.fromisoformat(begun) if begun else now
        return cls(begun_at=begun_at, written_at=max(now, begun_at), slots=slots, cpus=cpus)


SESSIONS = TypeAdapter(list[Session])


def as_metadata(sessions: Iterable[Session]) -> dict[bytes, bytes]:
    """The metadata of a trials.parquet for these sessions; empty if there are none."""
    values = [session.model_dump(mode="json") for session in sessions]
    return {KEY: json.dumps(values).encode()} if values else {}


def of_metadata(metadata: dict[bytes, bytes] | None, name: str) -> list[Session]:
    """The sessions in the metadata of a table; an empty list if it has none.

    Args:
        metadata: the metadata of the table's schema.
        name: the file's name, for messages.

    Raises:
        InputError: the metadata are not what `as_metadata` makes.
    """
    text = (metadata or {}).get(KEY)
    try:
        return SESSIONS.validate_json(text) if text is not None else []
    except ValidationError as error:
        raise InputError(f"{name}: metadata {KEY.decode()}: {explain(error)}") from None
