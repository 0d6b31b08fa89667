"""Callbacks are signed, retried, and sent to allowed hosts only."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis
from standardwebhooks import Webhook, WebhookVerificationError

from app.auth.key_file import ApiKey, key_file
from app.webhooks import webhook_sender
from app.webhooks.callback_addresses import is_public
from app.webhooks.outbound import BlockedError, Sender
from cdvae_schema.job_specs import JobStatus
from cdvae_schema.wire import WEBHOOKS_KEY
from tests.app.conftest import MakeClient, StandInWorker
from tests.app.problem_documents import problem
from tests.waiting import HANG_SECONDS


class Receiver(ThreadingHTTPServer):
    """Receive callbacks on the loopback interface and answer with `statuses` in turn."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ReceiverHandler)
        self.statuses: list[int] = []
        self.received: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?secret=1"


class ReceiverHandler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((dict(self.headers), body))
        status = self.server.statuses.pop(0) if self.server.statuses else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", self.server.url)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def lab_key(tmp_path: Path) -> tuple[str, ApiKey]:
    return key_file(tmp_path / "home").create("lab")


def headers(key: tuple[str, ApiKey]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key[0]}"}


@pytest.fixture
def hooked(
    make_client: MakeClient,
    redis_url: str,
    lab_key: tuple[str, ApiKey],
    monkeypatch: pytest.MonkeyPatch,
) -> TestClient:
    """Client of a service that may call the receiver and retries quickly."""
    monkeypatch.setattr(webhook_sender, "DELAYS", (0, 0, 0))
    return make_client(redis_url=redis_url, callback_hosts=["127.0.0.1"])


def submit(client: TestClient, key: tuple[str, ApiKey], url: str) -> str:
    answer = client.post("/generate", json={"callback_url": url}, headers=headers(key))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def until(condition: Callable[[], Any], seconds: float = HANG_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def test_the_end_of_a_job_is_told_and_signed(
    hooked: TestClient,
    worker: StandInWorker,
    receiver: Receiver,
    lab_key: tuple[str, ApiKey],
    redis_client: Redis,
) -> None:
    job = submit(hooked, lab_key, receiver.url)
    worker.announce()
    worker.end(worker.take()[0], "finished", "succeeded")
    until(lambda: receiver.received and redis_client.zcard(WEBHOOKS_KEY) == 0)
    sent, body = receiver.received[0]
    assert Webhook(lab_key[1].webhook_secret).verify(body, sent)
    assert sent["webhook-id"] == f"job_{job}"
    event = json.loads(body)
    assert event["type"] == "job.succeeded"
    assert JobStatus.model_validate(event["data"]).id == job
    with pytest.raises(WebhookVerificationError):
        Webhook(lab_key[1].webhook_secret).verify(body + b" ", sent)
    assert len(receiver.received) == 1


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_every_end_is_told(
    hooked: TestClient,
    worker: StandInWorker,
    receiver: Receiver,
    lab_key: tuple[str, ApiKey],
    how: str,
) -> None:
    job = submit(hooked, lab_key, receiver.url)
    if how == "failed":
        worker.announce()
        worker.fail(worker.take()[0], {"code": "x", "detail": "Y."})
    else:
        hooked.delete(f"/jobs/{job}", headers=headers(lab_key))
    until(lambda: receiver.received)
    assert json.loads(receiver.received[0][1])["type"] == f"job.{how}"


def test_what_fails_is_tried_again_under_the_same_id(
    hooked: TestClient, receiver: Receiver, lab_key: tuple[str, ApiKey], redis_client: Redis
) -> None:
    receiver.statuses = [500, 302, 200]
    job = submit(hooked, lab_key, receiver.url)
    hooked.delete(f"/jobs/{job}", headers=headers(lab_key))
    until(lambda: len(receiver.received) == 3)
    until(lambda: redis_client.zcard(WEBHOOKS_KEY) == 0)
    assert {sent["webhook-id"] for sent, _ in receiver.received} == {f"job_{job}"}
    assert len(receiver.received) == 3  # a redirect was not followed


def test_it_is_given_up_in_the_end_or_where_it_is_not_wanted(
    hooked: TestClient, receiver: Receiver, lab_key: tuple[str, ApiKey], redis_client: Redis
) -> None:
    receiver.statuses = [410]
    job = submit(hooked, lab_key, receiver.url)
    hooked.delete(f"/jobs/{job}", headers=headers(lab_key))
    until(lambda: receiver.received and redis_client.zcard(WEBHOOKS_KEY) == 0)
    receiver.received.clear()
    receiver.statuses = [500] * 10
    job = submit(hooked, lab_key, receiver.url)
    hooked.delete(f"/jobs/{job}", headers=headers(lab_key))
    until(lambda: len(receiver.received) == 4 and redis_client.zcard(WEBHOOKS_KEY) == 0)


def test_a_revoked_keys_callbacks_are_dropped(
    hooked: TestClient,
    receiver: Receiver,
    lab_key: tuple[str, ApiKey],
    redis_client: Redis,
    tmp_path: Path,
) -> None:
    job = submit(hooked, lab_key, receiver.url)
    key_file(tmp_path / "home").revoke(lab_key[1].id)
    redis_client.zadd(WEBHOOKS_KEY, {job: 0})
    until(lambda: redis_client.zcard(WEBHOOKS_KEY) == 0)
    assert receiver.received == []


@pytest.mark.parametrize(
    "url",
    [
        "http://lab.example/hook",
        "ftp://lab.example/hook",
        "lab.example/hook",
        "https://",
        "https:///hook",
        "https://user:password@lab.example/",
        "https://127.0.0.1/",
        "https://10.1.2.3/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[fe80::1%25eth0]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[not-an-address]/",
        "https://lab.example:99999/",
        "https://lab example/",
        "https://lab.exämple/",
    ],
)
def test_callbacks_to_nowhere_are_refused(
    client: TestClient, lab_key: tuple[str, ApiKey], url: str, redis_client: Redis
) -> None:
    answer = problem(
        client.post("/generate", json={"callback_url": url}, headers=headers(lab_key)), 422
    )
    assert answer["errors"][0]["pointer"] == "/callback_url"
    assert redis_client.keys("rq:*") == []


def test_without_a_key_nothing_could_be_signed(client: TestClient) -> None:
    body = {"callback_url": "https://lab.example/hook"}
    assert "key" in problem(client.post("/generate", json=body), 422)["detail"]


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:7f00:1",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::10.0.0.1",
        "2002:7f00:1::",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "fc00::1",
        "fe80::1",
        "fe80::1%eth0",
        "ff02::1",
        "nonsense",
    ],
)
def test_private_addresses_in_all_their_forms(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "answers",
    [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::1"], ["::ffff:169.254.169.254"], []],
)
def test_a_name_is_judged_by_all_that_it_resolves_to(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, answers: list[str]
) -> None:
    async def post() -> None:
        async def resolve(host: str, port: int, **_: Any) -> list[Any]:
            assert host == "lab.example"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in answers]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve, raising=False)
        sender = Sender([])
        try:
            with pytest.raises(BlockedError):
                await sender.post(f"http://lab.example:{receiver.server_port}/", {}, b"")
        finally:
            await sender.close()

    asyncio.run(post())
    assert receiver.received == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1"])
def test_numbers_and_names_of_this_machine_are_blocked(receiver: Receiver, host: str) -> None:
    async def post() -> None:
        sender = Sender(["other.example"])
        try:
            with pytest.raises(BlockedError):
                await sender.post(f"http://{host}:{receiver.server_port}/", {}, b"")
        finally:
            await sender.close()

    asyncio.run(post())
    assert receiver.received == []
