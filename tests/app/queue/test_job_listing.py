"""The cursor of `GET /jobs`."""

import base64

import pytest
from fastapi.testclient import TestClient

from tests.app.test_app_bad_input import problem


@pytest.mark.parametrize("moment", ["nan", "inf", "-inf", "1e999", "x", ""])
def test_a_cursor_without_a_time_is_the_clients_mistake(client: TestClient, moment: str) -> None:
    cursor = base64.urlsafe_b64encode(f"{moment} x".encode()).decode()
    answer = problem(client.get("/jobs", params={"cursor": cursor}), 422)
    assert answer["errors"][0]["parameter"] == "cursor"
