"""The caller of a request."""

from dataclasses import dataclass

from app.auth.key_file import ApiKey


@dataclass(frozen=True)
class Caller:
    """The owner of the jobs that a request creates; `key` is None if the service has no keys."""

    owner: str
    key: ApiKey | None

    @property
    def quota(self) -> int:
        """Return how many unfinished jobs the caller may have; 0 means no limit."""
        return 0 if self.key is None else self.key.unfinished_jobs
