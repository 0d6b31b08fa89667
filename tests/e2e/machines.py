"""Network namespaces as machines on a switch; each has an address and a link that can be cut."""

import ctypes
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, TypeVar

from tests.needs import missing, program

CLONE_NEWNET = 0x40000000
NETWORK = "192.0.2"  # reserved for examples, so no other machine has these addresses

T = TypeVar("T")


class Machines:
    """A machine `hub` with the address .1 and the switch, and machines on the switch."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            missing("network namespaces need root")
        self._ip = program("ip", "Debian's iproute2")
        self._prefix = f"cdvae{os.getpid()}"
        self._names: list[str] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        self._add("hub")
        self.run("hub", self._ip, "link", "add", "switch", "type", "bridge")
        self.run("hub", self._ip, "address", "add", f"{NETWORK}.1/24", "dev", "switch")
        self.run("hub", self._ip, "link", "set", "switch", "up")

    def _space(self, name: str) -> str:
        return f"{self._prefix}-{name}"

    def _add(self, name: str) -> None:
        subprocess.run([self._ip, "netns", "add", self._space(name)], check=True)
        self._names.append(name)
        self.run(name, self._ip, "link", "set", "lo", "up")

    def plug_in(self, name: str) -> None:
        """Add a machine; its address ends in 10 plus the number of machines."""
        number = 10 + len(self._names)
        self._add(name)
        space = self._space(name)
        words = ["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", space]
        self.run("hub", self._ip, *words)
        self.run("hub", self._ip, "link", "set", name, "master", "switch", "up")
        self.run(name, self._ip, "address", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
        self.run(name, self._ip, "link", "set", "eth0", "up")

    def cut(self, name: str) -> None:
        """Cut the link: packets are lost and no connection is closed."""
        self.run("hub", self._ip, "link", "set", name, "down")

    def mend(self, name: str) -> None:
        """Connect the machine again."""
        self.run("hub", self._ip, "link", "set", name, "up")

    def run(self, name: str, *command: str) -> None:
        """Run a command on a machine and wait for its end."""
        subprocess.run([self._ip, "netns", "exec", self._space(name), *command], check=True)

    def start(
        self, name: str, command: Sequence[str], variables: Mapping[str, str], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """Start a process on a machine."""
        process = subprocess.Popen(
            [self._ip, "netns", "exec", self._space(name), *command],
            env=dict(variables),
            stdout=log,
            stderr=log,
        )
        self.processes.append(process)
        return process

    def on(self, name: str) -> ThreadPoolExecutor:
        """Return a thread whose connections start from a machine."""
        place = Path("/run/netns") / self._space(name)
        return ThreadPoolExecutor(max_workers=1, initializer=_enter, initargs=(place,))

    def remove(self) -> None:
        """End all processes and remove the machines."""
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            process.wait(40)
        for name in self._names:
            subprocess.run([self._ip, "netns", "delete", self._space(name)], check=True)


def call(thread: ThreadPoolExecutor, function: Callable[..., T], *arguments: Any) -> T:
    """Return the value of a function that is called in a network namespace."""
    return thread.submit(function, *arguments).result()


def _enter(place: Path) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with place.open() as file:
        if libc.setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {place}")
