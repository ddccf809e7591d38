"""A run as an Optuna study in memory, for Optuna's figures and for other programs.

Optuna calls a hyper-parameter a parameter. A parameter's name is the field's name, with a part for
a value of each layer: hidden_sizes.depth, hidden_sizes.1. If a field has several alternatives of
the same kind, they are one parameter whose domain includes all of them.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import FrozenTrial, TrialState, create_trial

from ffnet.errors import InputError
from ffnet.run import recorded, tables
from ffnet.run.folder import RunFolder
from ffnet.run.ranking import tuning_of
from ffnet.run.tables import Row, Status
from ffnet.spec.base import Values
from ffnet.spec.drawn import drawn
from ffnet.spec.space import Domain
from ffnet.spec.study import Study
from ffnet.spec.validation import validated

STATES = {
    Status.RUNNING: TrialState.RUNNING,
    Status.DONE: TrialState.COMPLETE,
    Status.PRUNED: TrialState.PRUNED,
    Status.STOPPED: TrialState.PRUNED,
    Status.DIVERGED: TrialState.FAIL,
    Status.FAILED: TrialState.FAIL,
}
"""A trial's status → its state in Optuna, which has fewer of them."""

STEPS = 1000  # if a report is not at the end of an epoch, Optuna's step is 1/1000 of an epoch
MOST_MISSING = 10_000  # maximum number of trials that the table may lack before its last trial


def study_of(folder: RunFolder) -> optuna.Study:
    """A run as an Optuna study: see `as_optuna`.

    Args:
        folder: the run. It may be running, and it may be a single net, which has no parameters.

    Raises:
        InputError: the run cannot be read.

    Example:
        >>> study = study_of(RunFolder.existing("runs/digits"))
        >>> optuna.visualization.plot_slice(study).show()
    """
    document = recorded.read_study_json(folder)
    rows = tables.read(folder.trials) if folder.trials.exists() else []
    reports = tables.read(folder.epochs) if folder.epochs.exists() else []
    return as_optuna(document, rows, reports, folder.name, str(folder.study))


def as_optuna(
    document: Values,
    rows: Sequence[Row],
    reports: Iterable[Row],
    name: str = "study",
    source: str = "study.json",
) -> optuna.Study:
    """The rows of a run as an Optuna study.

    A trial has the same number as in the run. Its value is the best report's, and its intermediate
    values are all reports', both by the study's metric. Its steps are epochs; if any report of the
    run is not at the end of an epoch, they are thousandths of an epoch. Its user attributes are
    `status` and all other columns of its row that are not null. A number that the table lacks,
    because that trial has not begun, is a waiting trial.

    A done trial is COMPLETE, a pruned or stopped trial is PRUNED, and a diverged or failed trial is
    FAIL.

    Args:
        document: the content of study.json.
        rows: the rows of trials.parquet.
        reports: the rows of epochs.parquet.
        name: the Optuna study's name.
        source: the place of study.json, for messages.

    Raises:
        InputError: the rows cannot be those of a run.
    """
    whole, reports = document["study"], list(reports)
    study = validated(Study, whole, source, recorded=True) if "space" in whole else None
    tuning = tuning_of(whole, source)
    made = _empty(name, "maximize" if tuning.mode == "max" else "minimize")
    unit = "epoch" if all(row["epoch"].is_integer() for row in _given(reports)) else "epoch / 1000"
    about = {
        "metric": tuning.metric, "step": unit, "study": whole, "data": document["data"],
        "versions": document["versions"], "commit": document.get("commit"),
    }  # fmt: skip
    for key, value in about.items():
        made.set_user_attr(key, value)
    convert = _Converter(study, whole, tuning.metric, 1 if unit == "epoch" else STEPS)
    made.add_trials(convert.trials(rows, reports))
    return made


def _empty(name: str, direction: str) -> optuna.Study:
    """A study in memory. Optuna prints nothing about it; the caller's setting stays."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(study_name=name, direction=direction)
    finally:
        optuna.logging.set_verbosity(before)


def _given(reports: Iterable[Row]) -> Iterator[Row]:
    return (row for row in reports if row["epoch"] is not None)


class _Converter:
    """Makes Optuna's trials from rows."""

    def __init__(self, study: Study | None, whole: Values, metric: str, steps: int) -> None:
        """Remember what is the same for all trials.

        Args:
            study: the study; None for a single net.
            whole: the section `study` of study.json.
            metric: the study's metric.
            steps: number of Optuna's steps in an epoch.
        """
        self._study, self._whole, self._metric, self._steps = study, whole, metric, steps
        self._spaces: dict[str, BaseDistribution] = {}

    def trials(self, rows: Sequence[Row], reports: Iterable[Row]) -> list[FrozenTrial]:
        """The trials from number 0 to the last one."""
        by_number = {row["trial"]: row for row in rows}
        last = max(by_number, default=-1)
        if last >= len(rows) + MOST_MISSING:
            raise InputError(
                f"trials.parquet must have nearly all trials up to its last one. Given: {len(rows)}"
                f" rows, and trial {last}"
            )
        of_trial: dict[int, list[Row]] = {}
        for report in _given(reports):
            of_trial.setdefault(report["trial"], []).append(report)
        waiting = create_trial(state=TrialState.WAITING)
        return [
            self._trial(by_number[n], of_trial.get(n, [])) if n in by_number else waiting
            for n in range(last + 1)
        ]

    def _trial(self, row: Row, reports: Sequence[Row]) -> FrozenTrial:
        state = STATES[Status(row["status"])]
        best = row[f"best_{self._metric}"]
        if state == TrialState.COMPLETE and best is None:
            state = TrialState.FAIL  # Optuna needs a value
        params, distributions = self._params(row)
        begun = _local(row["started_at"] or row["ended_at"])
        attributes = {n: _json(v) for n, v in row.items() if v is not None and n not in params}
        return FrozenTrial(
            number=row["trial"], trial_id=row["trial"], state=state,
            value=None if state in (TrialState.FAIL, TrialState.RUNNING) else best,
            values=None, params=params, distributions=distributions,
            intermediate_values=self._curve(reports),
            datetime_start=begun,
            datetime_complete=_ended(row, reports, begun) if state.is_finished() else None,
            user_attrs=attributes, system_attrs={},
        )  # fmt: skip

    def _curve(self, reports: Sequence[Row]) -> dict[int, float]:
        return {
            round(row["epoch"] * self._steps): row[self._metric]
            for row in sorted(reports, key=lambda row: row["epoch"])
            if row[self._metric] is not None
        }

    def _params(self, row: Row) -> tuple[Values, dict[str, BaseDistribution]]:
        """A trial's parameters and their distributions.

        None if the space does not offer its values. That can be after population-based training
        has changed a value on which a condition depends.
        """
        if self._study is None:
            return {}, {}
        config = recorded.config(self._whole, row)
        try:
            found = drawn(self._study, config)
        except InputError:
            return {}, {}
        params = {}
        for label, (domain, value) in found.items():
            name = self._name(label)
            choice = domain.kind == "choice"
            params[name] = _choice(self._offered(label), domain.value[value]) if choice else value
        return params, {name: self._spaces[name] for name in params}

    def _name(self, label: str) -> str:
        """The parameter's name, whose distribution is noted."""
        whole, _, part = label.partition(".")
        name = whole.partition("/")[0]
        domains = self._offered(label)
        joined = ".".join(filter(None, (name, part))) if _alike(domains) else label
        if joined not in self._spaces:
            self._spaces[joined] = _distribution(domains if _alike(domains) else [self._own(label)])
        return joined

    def _own(self, label: str) -> Domain:
        """The domain of a label."""
        whole, _, part = label.partition(".")
        name, _, number = whole.partition("/")
        found = _part(self._domains(name)[int(number or 0)], part)
        assert found
        return found

    def _offered(self, label: str) -> list[Domain]:
        """The domains of a label and of its alternatives, without those of a fixed value."""
        whole, _, part = label.partition(".")
        found = [_part(domain, part) for domain in self._domains(whole.partition("/")[0])]
        return [domain for domain in found if domain and domain.kind != "fixed"]

    def _domains(self, name: str) -> Sequence[Domain]:
        assert self._study
        return self._study.space.root[name]


def _part(domain: Domain, part: str) -> Domain | None:
    """The domain of a part: "" for the whole, `depth`, or a layer's number. None if not there."""
    if part == "depth":
        return domain.depth
    if not part:
        return None if domain.parts() else domain
    if domain.each:
        return domain.each
    layers = (domain.repeat,) if domain.repeat else domain.layers or ()
    return layers[int(part) - 1] if int(part) <= len(layers) else None


def _alike(domains: Sequence[Domain]) -> bool:
    """Whether domains can be one parameter: Optuna has one kind and one scale for each name."""
    return len({(_kind(domain), domain.kind.startswith("log_")) for domain in domains}) == 1


def _kind(domain: Domain) -> Any:
    """The class of a domain's distribution."""
    if domain.kind == "choice":
        return CategoricalDistribution
    return IntDistribution if "integer" in domain.kind else FloatDistribution


def _distribution(domains: Sequence[Domain]) -> BaseDistribution:
    """A distribution that includes all of the domains, which are alike."""
    kind = _kind(domains[0])
    if kind is CategoricalDistribution:
        offered = [_choice(domains, value) for domain in domains for value in domain.value]
        return CategoricalDistribution(list(dict.fromkeys(offered)))
    low, high = min(d.value[0] for d in domains), max(d.value[1] for d in domains)
    return kind(low, high, log=domains[0].kind.startswith("log_"))


def _choice(domains: Sequence[Domain], value: Any) -> Any:
    """A choice as Optuna takes it. If any choice is a list, all choices are texts: 512-256."""
    if not any(isinstance(v, list | tuple) for d in domains for v in d.value):
        return value
    parts = value if isinstance(value, list | tuple) else [value]
    between = "-" if all(isinstance(part, int) for part in parts) else " "
    return between.join(map(str, parts)) or "none"


def _json(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _local(time: datetime | None) -> datetime:
    """A time as Optuna keeps it: in the zone of this machine, which it does not name."""
    return (time or datetime.fromtimestamp(0, UTC)).astimezone().replace(tzinfo=None)


def _ended(row: Mapping[str, Any], reports: Iterable[Row], begun: datetime) -> datetime:
    times = [row["ended_at"], *(report["reported_at"] for report in reports)]
    known = next((time for time in times if time), None)
    return max(begun, _local(known)) if known else begun
