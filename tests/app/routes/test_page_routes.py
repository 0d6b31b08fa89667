"""Files of the web page, statistics of models, input structures."""

import json
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.auth.key_file import key_file
from app.routes.page_routes import STATIC
from cdvae_schema.cards import TrainingStatistics
from tests.app.conftest import CIF, StandInWorker
from tests.app.problem_documents import problem

OURS = [*sorted((STATIC / "web").rglob("*.*")), STATIC / "index.html"]
STATISTICS = {
    "density_quantiles": [float(n) for n in range(101)],
    "num_elements_histogram": {"3": 1.0},
    "property_quantiles": {"formation_energy": [n / 100 for n in range(101)]},
}


def test_the_page_runs_nothing_but_the_files_of_this_service(client: TestClient) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"].split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "style-src 'self'" in policy
    assert "connect-src 'self'" in policy
    assert not re.search(r"unsafe|http|\*|script-src[^;]*data:", "; ".join(policy))
    assert not re.search(r"<script(?![^>]* src=)|<style|\sstyle=|\son\w+=", answer.text)
    for link in re.findall(r'(?:src|href)="(static/[^"]+)"', answer.text):
        assert client.get(f"/{link}").status_code == 200, link


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_no_file_names_another_place(path: Path) -> None:
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    assert "http" not in text.replace("httpx", "").replace("base_url", "")
    for imported in re.findall(r'(?:^import .*from |import\()"([^"]+)"', text, re.MULTILINE):
        assert (path.parent / imported).resolve().is_file(), imported


def test_browsers_ask_whether_a_file_is_still_the_same(client: TestClient) -> None:
    first = client.get("/static/web/js/main.js")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/static/web/js/main.js", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304


def test_statistics_of_a_model(client: TestClient, store: Path) -> None:
    assert "tiny@1" in problem(client.get("/models/tiny/statistics"), 503)["detail"]
    (store / "tiny" / "1" / "reference.json").write_text(json.dumps(STATISTICS))
    assert client.get("/models/tiny@1/statistics").json() == STATISTICS
    problem(client.get("/models/none/statistics"), 404)
    (store / "tiny" / "1" / "reference.json").write_text('{"density_quantiles": [1]}')
    problem(client.get("/models/tiny/statistics"), 503)


def test_the_shipped_models_have_statistics() -> None:
    found = list((Path(__file__).parents[3] / "model_store").glob("*/*/reference.json"))
    assert found
    for path in found:
        statistics = TrainingStatistics.model_validate_json(path.read_bytes())
        assert statistics.density_quantiles == sorted(statistics.density_quantiles)


def test_the_structures_of_a_job_come_back_with_their_symmetry_expanded(
    client: TestClient, worker: StandInWorker
) -> None:
    headers = {"Content-Type": "chemical/x-cif"}
    job = client.post("/reconstruct", content=CIF, headers=headers).json()["id"]
    (given,) = client.get(f"/jobs/{job}/structures").json()["structures"]
    assert given["label"] == "SrTiO3"
    assert sorted(given["atomic_numbers"]) == [8, 8, 8, 22, 38]
    assert len(given["frac_coords"]) == 5
    assert given["lattice"][0] == pytest.approx([3.905, 0, 0])
    plain = client.post("/generate").json()["id"]
    assert client.get(f"/jobs/{plain}/structures").json() == {"structures": []}
    worker.announce()
    taken, _ = worker.take()
    worker.write(taken, [[]])
    worker.end(taken, "finished", "succeeded")
    assert len(client.get(f"/jobs/{job}/structures").json()["structures"]) == 1


def test_given_structures_are_the_owners_alone(client: TestClient, tmp_path: Path) -> None:
    keys = key_file(tmp_path / "home")
    mine, theirs = (
        {"Authorization": f"Bearer {keys.create(name)[0]}"} for name in ("mine", "theirs")
    )
    headers = {"Content-Type": "chemical/x-cif", **mine}
    job = client.post("/reconstruct", content=CIF, headers=headers).json()["id"]
    assert client.get(f"/jobs/{job}/structures", headers=mine).status_code == 200
    problem(client.get(f"/jobs/{job}/structures", headers=theirs), 404)
    problem(client.get(f"/jobs/{job}/structures"), 401)
