"""Jobs on a full results disk fail with a reason; with space again, jobs succeed."""

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
    """Return whether this machine allows private mounts."""
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
    # The disk is still full: not even a small result fits.
    small = submit(client, "tiny", num_samples=8)
    assert wait_for(client, small)["error"]["code"] == "storage_failed"
    # There is space again, and the same worker continues.
    enter = ["nsenter", "--user", "--mount", "--target", str(worker.pid)]
    subprocess.run([*enter, "rm", "-r", str(site.folder / "home" / "results" / job)], check=True)
    wait_until(lambda: site.lab.presences()[0].state == "idle", "an idle worker")
    assert wait_for(client, submit(client, "tiny", num_samples=2))["state"] == "succeeded"
