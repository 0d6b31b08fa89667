"""API keys: a file of hashes that `cdvae keys` writes and the front end reads.

The file is stored next to the results instead of in Redis, so that a flushed or restored Redis
neither locks all users out nor lets everyone in. A key has 256 random bits, so a plain SHA-256
is as safe as a slow hash.
"""

import base64
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, TypeAdapter, ValidationError

from cdvae_schema.base import StrictModel, Timestamp

DEFAULT_PER_MINUTE = 600
DEFAULT_UNFINISHED = 1000
PREFIX = "cdvae"


class ApiKey(StrictModel):
    """The stored record of a key; the key itself is never stored."""

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(min_length=1, max_length=64)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: Timestamp
    revoked_at: Timestamp | None = None
    requests_per_minute: int = Field(ge=1)
    unfinished_jobs: int = Field(ge=1, description="Jobs that may be queued or running at once.")
    webhook_secret: str = Field(
        pattern=r"^whsec_", description="Signs callbacks; the receiver has it too."
    )


_KEYS = TypeAdapter(list[ApiKey])


class KeyFileError(Exception):
    """The key file cannot be used; the text gives the reason."""


class UnknownKeyError(LookupError):
    """No key has this id."""


class KeyFile:
    """The keys in the file `path`, which may be missing; it is read again when it changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read: tuple[tuple[int, int, int], dict[str, ApiKey]] | None = None

    def keys(self) -> dict[str, ApiKey]:
        """Return all keys by id, revoked ones too; empty without a file. Raises KeyFileError."""
        try:
            facts = self.path.stat()
            stamp = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            if self._read is None or self._read[0] != stamp:
                found = _KEYS.validate_json(self.path.read_bytes())
                self._read = stamp, {key.id: key for key in found}
        except FileNotFoundError:
            return {}
        except (OSError, ValidationError) as error:
            raise KeyFileError(f"{self.path} cannot be used: {type(error).__name__}") from error
        return self._read[1]

    def find(self, token: str) -> ApiKey | None:
        """Return the valid key of this token, or None. Raises KeyFileError."""
        prefix, _, rest = token.partition("_")
        key = self.keys().get(rest.partition("_")[0]) if prefix == PREFIX else None
        # Constant time: the duration must not depend on where the two differ.
        if key is None or not hmac.compare_digest(key.sha256, _digest(token)):
            return None
        return key if key.revoked_at is None else None

    def create(
        self,
        name: str,
        requests_per_minute: int = DEFAULT_PER_MINUTE,
        unfinished_jobs: int = DEFAULT_UNFINISHED,
    ) -> tuple[str, ApiKey]:
        """Return a new key and its record; the key itself is not stored."""
        identity = secrets.token_hex(6)
        token = f"{PREFIX}_{identity}_{secrets.token_hex(32)}"
        key = ApiKey(
            id=identity,
            name=name,
            sha256=_digest(token),
            created_at=datetime.now(UTC),
            requests_per_minute=requests_per_minute,
            unfinished_jobs=unfinished_jobs,
            webhook_secret="whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
        )
        with self._locked():
            self._write([*self.keys().values(), key])
        return token, key

    def revoke(self, identity: str) -> ApiKey:
        """Return the key with this id, no longer valid from now on; raises UnknownKeyError."""
        with self._locked():
            keys = dict(self.keys())
            if identity not in keys:
                raise UnknownKeyError(f"no key {identity!r}")
            revoked_at = keys[identity].revoked_at or datetime.now(UTC)
            keys[identity] = keys[identity].model_copy(update={"revoked_at": revoked_at})
            self._write(list(keys.values()))
        return keys[identity]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, keys: list[ApiKey]) -> None:
        unfinished = self.path.with_suffix(".part")
        unfinished.unlink(missing_ok=True)
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_KEYS.dump_json(keys, indent=1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(self.path)


def key_file(home: Path) -> KeyFile:
    """Return the keys of the service whose state is in `home`."""
    return KeyFile(home / "keys.json")


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
