"""Every line of every process says which request and which job it is about."""

import json
import logging

import pytest

from cdvae_service.telemetry.logs import configure_logging, job_in_logs, note_job, request_in_logs


@pytest.mark.usefixtures("logging_as_it_was")
def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("INFO", as_json=True)
    log = logging.getLogger("some.where")
    with request_in_logs("r1"):
        log.info("asked %d", 1)
        with job_in_logs("j1", "r0"):
            log.warning("works")
        note_job("j2")
        log.info("answered")
    try:
        raise ValueError("a reason")
    except ValueError:
        log.exception("line\nbreak")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(one["request_id"], one["job_id"]) for one in lines[:3]] == [
        ("r1", "-"),
        ("r0", "j1"),
        ("r1", "j2"),
    ]
    assert lines[0]["message"] == "asked 1"
    assert lines[1]["level"] == "WARNING"
    assert lines[0]["logger"] == "some.where"
    assert lines[0]["time"].endswith("+00:00")
    assert "a reason" in lines[3]["exc_info"]
    assert len(lines) == 4


@pytest.mark.usefixtures("logging_as_it_was")
def test_text_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("WARNING", as_json=False)
    with request_in_logs("r1"), job_in_logs("j1", "r1"):
        logging.getLogger("x").info("no")
        logging.getLogger("x").warning("yes")
    assert "WARNING x [r1 j1]: yes" in capsys.readouterr().err
