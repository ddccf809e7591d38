"""Other stages of chaos.py: a disk that becomes full, a store that goes away, three nodes."""

import errno
import functools
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from chaos_runs import PATIENCE, Case, Run
from chaos_world import Driver, World, wait
from conftest import command_line
from ray_nodes import RayNodes
from s3_server import SECRET, Server
from test_nodes import QUICK

STAYS = 30.0  # after so many seconds on a full disk, a driver that still runs gets room again


class Disk:
    """A small file system in memory."""

    SIZE = "24m"

    def __init__(self, folder: Path) -> None:
        """Mount the file system. Raises PermissionError if the user may not mount."""
        self.folder = folder
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={self.SIZE}", "tmpfs", str(folder)]
        done = subprocess.run(mount, capture_output=True, text=True)
        if done.returncode:
            folder.rmdir()
            raise PermissionError(done.stderr.strip())
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Fill the disk to the last byte."""
        with self._filler.open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 10, 1):
                try:
                    while file.write(bytes(size)):
                        pass
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    def free(self) -> None:
        """Make room again."""
        self._filler.unlink()

    def close(self) -> None:
        """Unmount the file system."""
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


class DiskRun(Run):
    """A run on a disk that becomes full and gets room again."""

    def __init__(self, disk: Disk, world: World, case: Case, seed: str) -> None:
        super().__init__(world, case, seed, str(disk.folder / "run"))
        self._disk = disk

    def arguments(self) -> list[str]:
        more = ["--retry-failed"] if self._lives > 1 and _has_flag("--retry-failed") else []
        return super().arguments() + more

    def _full_disk(self, driver: Driver) -> bool:
        """Fill the disk: the driver must end with status 1 and one line, or wait for room."""
        self._disk.fill()
        self._note("full disks")
        end = time.monotonic() + STAYS
        wait(lambda: time.monotonic() > end, driver, PATIENCE, 0.1)
        self._disk.free()
        if driver.status is None:
            return False
        said = driver.errors()
        if driver.status not in (0, 1) or len(said.splitlines()) > 1:
            self.result.findings["wrong exits"].add(f"full disk: {driver.status}: {said[-500:]}")
        return driver.status != 0


@functools.cache
def _has_flag(flag: str) -> bool:
    done = subprocess.run(command_line("tune", "--help"), capture_output=True, text=True)
    return flag in done.stdout


class StoreRun(Run):
    """A run in an object store that goes away for some seconds."""

    pause = 0.3

    def __init__(self, server: Server, world: World, case: Case, seed: str) -> None:
        super().__init__(world, case, seed, server.uri(seed.replace(":", "-")))
        self._server = server

    def extra(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": "an-id", "AWS_SECRET_ACCESS_KEY": SECRET}

    def _outage(self, driver: Driver) -> bool:
        self._note("outages")
        self._go_away(lambda: None)
        return False

    def _outage_and_kill(self, driver: Driver) -> bool:
        """Stop the store, kill the driver, and start the store before the next driver."""
        self._note("outages")
        self._note("driver kills")
        self._go_away(lambda: driver.kill(group=True))
        return True

    def _go_away(self, meanwhile: Callable[[], None]) -> None:
        self.watch.blind(True)
        self._server.stop()
        time.sleep(self.random.uniform(2, 8))
        meanwhile()
        self._server.start()
        self.watch.blind(False)


class Nodes:
    """A cluster of three nodes. Nodes are killed one after another, and each is replaced."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._cluster = RayNodes(folder, RAY_TMPDIR=str(folder), **QUICK)
        self._cluster.head(num_cpus=1)
        self._others = [self._cluster.add(num_cpus=1) for _ in range(2)]
        self.address, self.environment = self._cluster.address, self._cluster.environment

    def lose(self, which: int) -> None:
        """Kill a node that is not the head, and start another."""
        self._cluster.kill(self._others.pop(which))
        self._others.append(self._cluster.add(num_cpus=1))

    def close(self) -> None:
        """End all nodes."""
        self._cluster.close()


class NodesRun(Run):
    """A run on three nodes."""

    def __init__(self, nodes: Nodes, world: World, case: Case, seed: str) -> None:
        super().__init__(world, case, seed)
        self._nodes = nodes

    def arguments(self) -> list[str]:
        return [*super().arguments(), "--address", self._nodes.address]

    def extra(self) -> dict[str, str]:
        return self._nodes.environment

    def _node(self, driver: Driver) -> bool:
        self._note("node kills")
        self._nodes.lose(self.random.randrange(2))
        return False
