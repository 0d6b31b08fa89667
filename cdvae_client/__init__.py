"""Python client of the CDVAE service.

from cdvae_client import Client

with Client("http://127.0.0.1:8000") as client:
    for crystal in client.generate(num_samples=8, seed=7):
        print(crystal.formula, crystal.structure().volume)
"""

from cdvae_client.async_client import AsyncClient
from cdvae_client.async_job import AsyncJob
from cdvae_client.call_driver import Retries
from cdvae_client.client import Client
from cdvae_client.client_errors import (
    CdvaeClientError,
    ConflictError,
    ForbiddenError,
    GoneError,
    InvalidRequestError,
    JobCancelledError,
    JobEndedError,
    JobFailedError,
    KeyRefusedError,
    MissingPackageError,
    NotFoundError,
    RateLimitedError,
    RefusedError,
    ServerError,
    UnavailableError,
    UnreachableError,
    WaitTimeoutError,
)
from cdvae_client.crystals import (
    Crystal,
    InterpolatedCrystal,
    OptimizedCrystal,
    ReconstructedCrystal,
    Result,
    VariedCrystal,
)
from cdvae_client.job import Job

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "CdvaeClientError",
    "Client",
    "ConflictError",
    "Crystal",
    "ForbiddenError",
    "GoneError",
    "InterpolatedCrystal",
    "InvalidRequestError",
    "Job",
    "JobCancelledError",
    "JobEndedError",
    "JobFailedError",
    "KeyRefusedError",
    "MissingPackageError",
    "NotFoundError",
    "OptimizedCrystal",
    "RateLimitedError",
    "ReconstructedCrystal",
    "RefusedError",
    "Result",
    "Retries",
    "ServerError",
    "UnavailableError",
    "UnreachableError",
    "VariedCrystal",
    "WaitTimeoutError",
]
