"""An executor whose models misbehave as their names say."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from ase.calculators.calculator import Calculator

from cdvae.errors import NonFiniteSampleError
from cdvae.inference import Decoded, SamplerSpec
from cdvae.model_folder import load_model
from cdvae.stability.ase_potential import AsePotential
from cdvae.stability.potential import Potential
from worker.executor.executor import main
from worker.model.engine import Engine, OnStep


class Pairs(Engine):
    """Two crystals in a chunk."""

    def chunks(self, number: int, searched: bool = False) -> list[range]:
        return [range(i, min(i + 2, number)) for i in range(0, number, 2)]


class Paced(Pairs):
    """Half a second for each chunk."""

    def decode(
        self,
        latents: Any,
        seeds: Sequence[int],
        sampler: SamplerSpec,
        on_level: OnStep,
        fixed: Any = None,
    ) -> Decoded:
        for level in range(10):
            time.sleep(0.05)
            on_level(level, 10)
        return super().decode(latents, seeds, sampler, on_level, fixed)


class Slow(Pairs):
    """The first chunk of a process is immediate; from then on every second one takes a minute."""

    def decode(
        self,
        latents: Any,
        seeds: Sequence[int],
        sampler: SamplerSpec,
        on_level: OnStep,
        fixed: Any = None,
    ) -> Decoded:
        self.calls = getattr(self, "calls", 0) + 1
        for level in range(0 if self.calls % 2 else 1200):
            time.sleep(0.05)
            on_level(level, 1200)
        return super().decode(latents, seeds, sampler, on_level, fixed)


class Counted(Pairs):
    """Twenty levels per second, almost without end; a file in the home folder counts them."""

    def decode(self, *arguments: Any) -> Decoded:
        on_level = arguments[3]
        home = Path(os.environ["CDVAE_HOME"])
        home.mkdir(exist_ok=True)
        with (home / "levels").open("w") as file:
            for level in range(100_000):
                time.sleep(0.05)
                file.write("x")
                file.flush()
                on_level(level, 100_000)
        raise AssertionError("nobody cancelled it")


class Thorough(Engine):
    """Half a second for the analysis of each crystal."""

    def is_novel(self, own: Any) -> bool | None:
        time.sleep(0.5)
        return super().is_novel(own)


class Stuck(Engine):
    """Ignores the alarm of the time limit, like a long computation in C."""

    def decode(self, *_: Any) -> Decoded:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
        time.sleep(60)
        raise AssertionError("nobody killed it")


class Nan(Engine):
    def decode(self, *_: Any) -> Decoded:
        raise NonFiniteSampleError([1])


class NanProperty(Engine):
    def decode(self, *arguments: Any) -> Decoded:
        decoded = super().decode(*arguments)
        return replace(decoded, properties={"band_gap": torch.tensor([1.0, 2.0, torch.nan])})


class Raises(Engine):
    def decode(self, *_: Any) -> Decoded:
        raise ZeroDivisionError("a secret of the service")


class NoMemory(Engine):
    def decode(self, *_: Any) -> Decoded:
        raise torch.OutOfMemoryError("CUDA out of memory")


class Exits(Engine):
    def decode(self, *_: Any) -> Decoded:
        os._exit(7)


class Killed(Engine):
    def decode(self, *_: Any) -> Decoded:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


ENGINES: dict[str, type[Engine]] = {
    "tiny": Engine,
    "pairs": Pairs,
    "paced": Paced,
    "slow": Slow,
    "counted": Counted,
    "thorough": Thorough,
    "stuck": Stuck,
    "nan": Nan,
    "nan_property": NanProperty,
    "raises": Raises,
    "no_memory": NoMemory,
    "exits": Exits,
    "killed": Killed,
}


def load(folder: Path, device: str) -> Engine:
    """Return the model in `folder`, which misbehaves as the name of the folder says."""
    return ENGINES[folder.parent.name](load_model(folder, device))


class Dense(Calculator):
    """A fast potential for all elements: its minimum is at 12 Å³ per atom."""

    implemented_properties: ClassVar[list[str]] = ["energy", "forces", "stress"]

    def calculate(self, *words: object, **more: object) -> None:
        """Set the results for the atoms of the call."""
        super().calculate(*words, **more)
        wanted = 12.0 * len(self.atoms)
        strain = self.atoms.get_volume() / wanted - 1
        pressure = strain / wanted * np.ones(3)
        self.results = {
            "energy": 0.5 * strain**2,
            "forces": np.zeros((len(self.atoms), 3)),
            "stress": np.concatenate([pressure, np.zeros(3)]),
        }


def dense(device: str) -> Potential:
    """Return the potential of `Dense`."""
    return AsePotential(Dense(), "dense", "1")


if __name__ == "__main__":
    main(load, lambda: dense)
