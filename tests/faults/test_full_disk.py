"""A results disk that is full: its jobs fail with a reason, and work goes on with space."""

import subprocess

import pytest

from tests.faults.site import Site, submit, wait_for
from tests.worker.laboratory import wait_until

SMALL_DISK = """
mkdir -p "$CDVAE_HOME/results"
mount -t tmpfs -o size=96k tmpfs "$CDVAE_HOME/results"
exec "$@"
"""
OWN_MOUNTS = ("unshare", "--user", "--map-root-user", "--mount")


def may_mount() -> bool:
    """Whether this machine lets us have mounts of our own."""
    probe = [*OWN_MOUNTS, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not may_mount(), reason="needs user namespaces to mount a small disk")
def test_a_full_disk_fails_the_job_and_nothing_else(site: Site) -> None:
    worker = site.lab.start_worker(*OWN_MOUNTS, "sh", "-c", SMALL_DISK, "sh")
    client = site.start_api()
    job = submit(client, "pairs", num_samples=100)
    ended = wait_for(client, job)
    assert ended["state"] == "failed"
    assert ended["error"]["code"] == "storage_failed"
    assert "stored" in ended["error"]["detail"]
    assert worker.poll() is None
    # Still full: not even a small one fits.
    small = submit(client, "tiny", num_samples=8)
    assert wait_for(client, small)["error"]["code"] == "storage_failed"
    # Space again: the same worker goes on.
    enter = ["nsenter", "--user", "--mount", "--target", str(worker.pid)]
    subprocess.run([*enter, "rm", "-r", str(site.folder / "home" / "results" / job)], check=True)
    wait_until(lambda: site.lab.presences()[0].state == "idle", "an idle worker")
    assert wait_for(client, submit(client, "tiny", num_samples=2))["state"] == "succeeded"
