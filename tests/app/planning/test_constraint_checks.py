"""Infeasible constraints are rejected before a job is queued."""

from fastapi.testclient import TestClient

from tests.app.problem_documents import problem


def test_a_cell_that_is_not_quite_cubic_is_refused(client: TestClient) -> None:
    angles = {"alpha": 90.25, "beta": 90.25, "gamma": 90.25}
    body = {"spacegroup": 221, "num_atoms": 5, "lattice": {"a": 4.0, "b": 4.0, "c": 4.0, **angles}}
    answer = problem(client.post("/generate", json=body), 422)
    assert answer["errors"][0]["pointer"] == "/lattice"
    body["lattice"] = {"a": 4.0, "b": 4.0, "c": 4.0, "alpha": 90, "beta": 90, "gamma": 90}
    assert client.post("/generate", json=body).status_code == 202
