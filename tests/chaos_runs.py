"""Runs a study to its end through kills, freezes, a full disk or a lost store; see chaos.py."""

import os
import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from chaos_ledger import Ledger, changed_decisions
from chaos_world import Driver, Watch, World, title, wait
from ffnet.export.weights import Finder
from ffnet.run import ranking
from ffnet.run.folder import RunFolder
from ffnet.run.tables import Row
from ffnet.spec.sections import Tuning

Tables = tuple[list[Row], list[Row]]

PATIENCE = 150.0  # seconds to wait for an event, as other work may share the machine
GONE = 5.0  # seconds in which a study's last processes must end
TRIES = 3  # how often a study is resumed after it ended with an error
LOSSES = 2  # how often a trial loses its worker; with the fourth loss it would fail


@dataclass(frozen=True)
class Case:
    """A study to disturb.

    Attributes:
        name: the combination, SCHEDULER:SEARCH.
        study: the study's TOML file.
        flags: flags of jobs/tune.py.
        trials: the number of trials.
        shares: whether trials may continue from other trials' weights (pbt).
        decided: whether the study always ends the same, despite disturbances.
        whole: tables of the same study without a break, if it is `decided`.
    """

    name: str
    study: Path
    flags: tuple[str, ...]
    trials: int
    shares: bool
    decided: bool
    whole: Tables | None = None


@dataclass
class Result:
    """Counts what was done to a study, and lists the findings."""

    done: Counter[str] = field(default_factory=Counter)
    findings: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, other: "Result") -> None:
        """Add another result to this one."""
        self.done.update(other.done)
        for name, cases in other.findings.items():
            self.findings[name] |= cases


@dataclass(frozen=True)
class Event:
    """A disturbance: what happens, and at which moment of a driver's life."""

    what: str
    when: str


class Run:
    """A run of a study that is disturbed and resumed until it has ended."""

    pause = 0.02  # seconds between two readings of the tables

    def __init__(self, world: World, case: Case, seed: str, place: str = "") -> None:
        """Prepare the run; nothing starts yet.

        Args:
            world: the folders and processes to use.
            case: the study.
            seed: seed of the random moments, and part of the run's name.
            place: folder or URI of the run; by default a folder of the world.
        """
        self.world, self.case, self.seed = world, case, seed
        self.result, self.random = Result(), random.Random(seed)
        self.place = place or str(world.folder / "runs" / seed.replace(":", "-"))
        self.ledger = Ledger(case.shares)
        self.watch = Watch(self.place, self.ledger, self.pause)
        self._lives = self._errors = self._unproved = 0
        self._frozen: list[int] = []
        self._losses: Counter[int] = Counter()

    # --- from the first driver to the end -----------------------------------------------------

    def through(self, events: list[Event]) -> Tables:
        """Let the events happen in their order until the study has ended.

        Events that have happened are removed from the list.

        Returns:
            The tables at the end.
        """
        ended = False
        while not ended and self._errors < TRIES:
            ended = self._live(events)
        if not ended:
            self.result.findings["studies that never ended"].add(self.seed)
        self.watch.close()
        tables = self.watch.last()
        self._compare(tables)
        self._look_for_best_weights(tables[0])
        self._look_for_leftovers()
        return tables

    def _live(self, events: list[Event]) -> bool:
        """Run a driver until it is killed or ends. Returns whether the study has ended."""
        self._lives += 1
        life = f"{self.seed.replace(':', '-')}-{self._lives}"
        driver = Driver(self.world, life, self.arguments(), self.extra())
        self._begun, self._reports = time.monotonic(), self.ledger.reports
        try:
            while events and wait(self._moment(events[0].when, driver), driver, PATIENCE, 0):
                event = events.pop(0)
                self._prove(driver)
                if getattr(self, f"_{event.what.replace(' ', '_')}")(driver):
                    return self._ended(driver, killed=True)
            wait(lambda: self._thaw(driver), driver, PATIENCE, 0.1)
        except TimeoutError as error:
            waited = f"{life}: {error}, {driver.printed()[-300:]}"
            self.result.findings["hung"].add(waited)
            driver.kill(group=True)
        return self._ended(driver, killed=False)

    def _ended(self, driver: Driver, killed: bool) -> bool:
        printed = driver.printed() + driver.errors()
        if "Traceback (most recent call last)" in printed:
            self.result.findings["tracebacks"].add(f"{driver.life}: {printed[-1500:]}")
        if killed:
            return False
        if driver.status == 0:
            self._count_survivals()
            return True
        self._errors += 1
        self._unproved = 0
        said = (driver.errors() or driver.printed())[-500:]
        self.result.findings["wrong exits"].add(f"{driver.life}: {driver.status}: {said}")
        return False

    def _compare(self, end: Tables) -> None:
        self.ledger.close(*end, self.case.trials)
        if self.case.whole:
            changed = changed_decisions(self.case.whole, end)
            self.ledger.findings["decisions changed"] |= changed
        for name, cases in self.ledger.findings.items():
            self.result.findings[name] |= {f"{self.seed}: {case}" for case in cases}
        self.result.done["epochs repeated"] += self.ledger.repeated
        self.result.done["epochs"] += self.ledger.reports
        self.result.done["readings"] += self.watch.readings
        self.result.done["checkpoints read"] += self.watch.checkpoints

    def _look_for_best_weights(self, rows: list[Row]) -> None:
        """Each trial that keeps its checkpoint has the weights of its row's best report."""
        run, tuning = RunFolder.at(self.place), Tuning()
        finder, kept = Finder(run, tuning), [r for r in rows if run.checkpoint(r["trial"]).exists()]
        best = ranking.best(rows, tuning)
        lost = {r["trial"] for r in [*kept, *([best] if best else [])] if not finder.best(r)}
        self.result.findings["best weights lost"] |= {f"{self.seed}: trial {n}" for n in lost}

    def _look_for_leftovers(self) -> None:
        self._wake()
        end = time.monotonic() + GONE
        while self.world.left_behind() and time.monotonic() < end:
            time.sleep(0.1)
        left = self.world.left_behind()
        self.result.findings["left behind"] |= {f"{self.seed}: {item}" for item in left}
        self.world.clear()

    def arguments(self) -> list[str]:
        """Arguments of jobs/tune.py, the same for the first driver and for those that resume."""
        return [str(self.case.study), "--out", self.place, "--resume", *self.case.flags]

    def extra(self) -> dict[str, str]:
        """Variables that are added to the driver's environment."""
        return {}

    # --- moments ------------------------------------------------------------------------------

    def _moment(self, name: str, driver: Driver) -> Callable[[], bool]:
        """Return a condition that becomes true at a moment of the driver's life."""
        return getattr(self, f"_at_{name}")(driver)  # type: ignore[no-any-return]

    def _at_ray(self, driver: Driver) -> Callable[[], bool]:
        """While the driver imports modules or Ray starts."""
        end = self._begun + self.random.uniform(0.1, 7)
        return lambda: self._slept(time.monotonic() >= end)

    def _at_first(self, driver: Driver) -> Callable[[], bool]:
        """While a worker prepares its first trial."""
        delay, seen = self.random.uniform(0, 4), [0.0]

        def come() -> bool:
            if not seen[0] and driver.workers():
                seen[0] = time.monotonic()
            time.sleep(0.1)  # it takes a while to look through the machine's processes
            return bool(seen[0]) and time.monotonic() >= seen[0] + delay

        return come

    def _at_middle(self, driver: Driver) -> Callable[[], bool]:
        """After a random number of further reports."""
        due = self.ledger.reports + self.random.randint(1, 5)
        return lambda: self._slept(self.ledger.reports >= due)

    def _at_tables(self, driver: Driver) -> Callable[[], bool]:
        """While a table is written: its temporary file is there."""
        due = self.ledger.reports + self.random.randint(1, 3)

        def come() -> bool:
            if self.ledger.reports < due:
                return self._slept(False)
            with suppress(FileNotFoundError):
                return any(".parquet-" in path.name for path in Path(self.place).iterdir())
            return False

        return come

    def _at_between(self, driver: Driver) -> Callable[[], bool]:
        """After a new epochs.parquet is in place, before trials.parquet has followed."""
        due = self.ledger.reports + self.random.randint(1, 3)
        path, seen = Path(self.place) / "epochs.parquet", [0]

        def come() -> bool:
            if self.ledger.reports < due:
                return self._slept(False)
            with suppress(FileNotFoundError):
                inode = path.stat().st_ino
                seen[0] = seen[0] or inode
                return inode != seen[0]
            return False

        return come

    def _at_end(self, driver: Driver) -> Callable[[], bool]:
        """When all trials but one or two have ended."""
        due = self.case.trials - self.random.randint(1, 2)
        return lambda: self._slept(self.ledger.ended >= due)

    def _at_over(self, driver: Driver) -> Callable[[], bool]:
        """When all trials have ended and the driver still runs."""
        return lambda: self._slept(self.ledger.ended >= self.case.trials)

    def _slept(self, come: bool) -> bool:
        if not come:
            time.sleep(0.005)
        return come

    # --- events: each returns whether the driver is dead ---------------------------------------

    def _driver(self, driver: Driver) -> bool:
        self._note("driver kills")
        driver.kill(group=self.random.random() < 0.5)
        return True

    def _worker(self, driver: Driver) -> bool:
        running = self.ledger.running
        workers = driver.workers()
        if workers and all(self._losses[number] < LOSSES for number in running):
            self._losses.update(running)
            self._note("worker kills")
            self._signal(self.random.choice(workers), signal.SIGKILL)
        return False

    def _frozen_worker(self, driver: Driver) -> bool:
        for pid in driver.workers()[:1]:
            self._freeze(pid)
        return False

    def _frozen_driver(self, driver: Driver) -> bool:
        self._freeze(driver.pid)
        return False

    def _second_driver(self, driver: Driver) -> bool:
        """Freeze the driver; a second driver must be refused, because the first is not dead."""
        self._note("freezes")
        self._signal(driver.pid, signal.SIGSTOP)
        second = Driver(self.world, f"{driver.life}-second", self.arguments(), self.extra())
        try:
            wait(lambda: False, second, PATIENCE, 0.1)
        except TimeoutError:
            second.kill(group=True)
        said = second.errors()
        if second.status != 2 or len(said.splitlines()) != 1:
            case = f"{second.life}: {second.status}: {said[-500:]}"
            self.result.findings["second drivers"].add(case)
        self._signal(driver.pid, signal.SIGCONT)
        return False

    def _orphan(self, driver: Driver) -> bool:
        """Freeze the workers, kill only the driver, and wake them when the next driver trains."""
        self._frozen = driver.workers()
        for pid in self._frozen:
            self._signal(pid, signal.SIGSTOP)
        self._note("freezes")
        self._note("driver kills")
        driver.kill(group=False)
        return True

    def _freeze(self, pid: int) -> None:
        self._note("freezes")
        self._signal(pid, signal.SIGSTOP)
        time.sleep(self.random.uniform(1, 3))
        self._signal(pid, signal.SIGCONT)

    def _thaw(self, driver: Driver) -> bool:
        """Wake the workers of an earlier driver, once this driver's have trained. Always False."""
        if self.ledger.reports > self._reports:
            self._wake()
        return False

    def _wake(self) -> None:
        for pid in self._frozen:
            self._signal(pid, signal.SIGCONT)
        self._frozen = []

    def _signal(self, pid: int, number: signal.Signals) -> None:
        if pid in self.world.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _note(self, what: str) -> None:
        self.result.done[what] += 1
        self._unproved += 1
        self._reports = self.ledger.reports

    def _prove(self, driver: Driver) -> None:
        """Count all disturbances as survived once trials have trained after the last of them."""
        self._thaw(driver)
        if self.ledger.reports <= self._reports:
            return
        self._count_survivals()
        for pid in set(self.world.processes()) - set(self.world.processes(f"{driver.life}/")):
            kind = f"{driver.life} trained beside {title(pid)}"
            self.result.findings["left behind while the next trained"].add(kind)

    def _count_survivals(self) -> None:
        self.result.done["survivals"] += self._unproved
        self._unproved = 0
