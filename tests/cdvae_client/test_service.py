"""Both clients against a real service: Redis, front end, worker, a tiny model."""

import asyncio
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Element
from pymatgen.core.structure import Structure

from cdvae.data.cif_writer import write_cif
from cdvae_client import (
    AsyncClient,
    Client,
    ConflictError,
    Crystal,
    InvalidRequestError,
    JobCancelledError,
    NotFoundError,
    OptimizedCrystal,
    ReconstructedCrystal,
    Result,
)
from tests.cdvae_client import stub
from tests.e2e.service import SRTIO3, Service
from tests.waiting import HANG_SECONDS

LONG = {"name": "langevin", "nfe": 5000}


def url(service: Service) -> str:
    return f"http://127.0.0.1:{service.port}"


def test_the_three_tasks(service: Service, tmp_path: Path) -> None:
    with Client(url(service)) as client:
        job = client.generate(num_samples=3, seed=3)
        arrived = list(job)
        assert [crystal.index for crystal in arrived] == [0, 1, 2]
        assert job.state == "succeeded"
        made = job.result()
        assert [crystal.cif for crystal in made] == [crystal.cif for crystal in arrived]
        assert made.provenance is not None
        assert made.provenance.seed == 3
        assert zipfile.is_zipfile(job.download(tmp_path / "crystals.zip"))

        again = client.reconstruct([SRTIO3, made[0], made[1].structure(), made[2].atoms()]).wait()
        sources = [one.source for one in again if isinstance(one, ReconstructedCrystal)]
        assert sources == [0, 1, 2, 3]

        quick = {"name": "ancestral", "nfe": 5}
        better = client.optimize(
            "formation_energy", num_samples=2, start=SRTIO3, steps=10, sampler=quick
        ).wait()
        assert all(isinstance(one, OptimizedCrystal) for one in better)
        energies = [one.predicted["formation_energy"] for one in better]
        assert energies == sorted(energies)


def test_walks(service: Service) -> None:
    with Client(url(service)) as client:
        first, second = client.generate(num_samples=2, seed=11).wait(60)
        way = client.interpolate([first, second], num_points=3, seed=1).wait(60)
        assert [one.position for one in way] == [0, 0.5, 1]
        assert way.job.kind == "interpolate"
        near = client.vary(first, strength=0.2, num_samples=2, seed=1).wait(60)
        assert len(near) == 2
        assert all(one.distance >= 0 for one in near)


def test_crystals_come_as_they_were_decoded(service: Service) -> None:
    with Client(url(service)) as client:
        for crystal in client.generate(num_samples=4, seed=11):
            structure, atoms = crystal.structure(), crystal.atoms()
            np.testing.assert_allclose(structure.lattice.matrix, crystal.lattice.matrix)
            np.testing.assert_allclose(atoms.positions, structure.cart_coords, atol=1e-6)
            assert structure.composition.formula == crystal.formula
            assert list(atoms.symbols) == [site.specie.symbol for site in structure]


def test_conversions_keep_order_orientation_and_digits() -> None:
    """Coordinates near 1/3 and mixed elements, which common CIF readers change."""
    rng = np.random.default_rng(1)
    frac = rng.uniform(0, 1, (5, 3))
    frac[0] = (1 / 3 + 2e-5, 2 / 3 - 3e-5, 0.0)
    made = Structure(rng.normal(size=(3, 3)) + 4 * np.eye(3), ["O", "Sr", "O", "Ti", "O"], frac)
    cell = {**stub.CELL, "matrix": made.lattice.matrix.tolist()}
    read = Crystal.model_validate(stub.crystal(0, cif=write_cif(made, {"index": 0}), lattice=cell))
    for species, positions in (
        (read.structure().species, read.structure().cart_coords),
        (map(Element, read.atoms().symbols), read.atoms().positions),
    ):
        assert list(species) == made.species
        np.testing.assert_allclose(positions, made.cart_coords, atol=1e-6)


def test_the_asynchronous_client(service: Service) -> None:
    async def run() -> list[Result]:
        async with AsyncClient(url(service)) as client:
            jobs = await asyncio.gather(*(client.generate(num_samples=2, seed=s) for s in (1, 2)))
            results = list(await asyncio.gather(*(job.wait(60) for job in jobs)))
            arrived = [crystal async for crystal in jobs[0]]
            assert arrived == results[0].crystals
            listed = await client.jobs(state="succeeded", limit=2)
            assert {job.id for job in listed} == {job.id for job in jobs}
            (card,) = await client.models()
            assert card == await client.model("tiny")
            return results

    first, second = asyncio.run(run())
    assert first[0].cif != second[0].cif


def test_an_idempotency_key_names_one_job(service: Service) -> None:
    with Client(url(service)) as client:
        first = client.generate(num_samples=1, seed=5, idempotency_key="plate-17/A1")
        assert client.generate(num_samples=1, seed=5, idempotency_key="plate-17/A1").id == first.id
        with pytest.raises(ConflictError):
            client.generate(num_samples=2, seed=5, idempotency_key="plate-17/A1")
        assert client.job(first.id).wait().job.id == first.id


def test_a_cancelled_job_says_so(service: Service) -> None:
    with Client(url(service)) as client:
        job = client.generate(num_samples=2000, sampler=LONG)
        with pytest.raises(ConflictError):
            job.result()
        job.cancel()
        with pytest.raises(JobCancelledError):
            job.wait(timeout=HANG_SECONDS)
        with pytest.raises(JobCancelledError):
            list(job)
        assert job.id in {one.id for one in client.jobs(state="cancelled")}


def test_refusals_say_what_and_where(service: Service) -> None:
    broken = SRTIO3.replace("data_SrTiO3", "data_broken").replace("3.905", "zero")
    with Client(url(service)) as client:
        with pytest.raises(InvalidRequestError, match="nope") as raised:
            client.optimize("nope")
        assert raised.value.faults[0].parameter == "property"
        with pytest.raises(InvalidRequestError) as raised:
            client.reconstruct([SRTIO3, broken])
        assert raised.value.faults[0].block == "broken"
        with pytest.raises(NotFoundError):
            client.job("unknown")


def test_jobs_are_listed_over_pages(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdvae_client.calls.PAGE", 2)
    with Client(url(service)) as client:
        made = [client.generate(num_samples=1, priority="interactive") for _ in range(3)]
        listed = client.jobs(kind="generate", limit=3)
        assert [one.id for one in listed] == [one.id for one in reversed(made)]


def test_the_client_needs_no_science() -> None:
    heavy = ("torch", "numpy", "pymatgen", "ase", "redis", "fastapi", "tqdm")
    code = f"import sys, cdvae_client; print([n for n in {heavy} if n in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr
