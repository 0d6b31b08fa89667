"""The adapter of RQ leaves what it is given as it is."""

from redis import Redis

from cdvae_schema.wire import QUEUES
from cdvae_service.jobstore.rq_adapter import WorkerRegistration
from cdvae_service.jobstore.rq_adapter.job_execution import JobExecution
from worker.supervisor.leases import REDIS_SECONDS, connect


def test_rq_does_not_raise_the_time_limit_of_redis_calls(redis_url: str) -> None:
    connection: Redis = connect(redis_url)
    WorkerRegistration(connection, "w", QUEUES)
    JobExecution(connection, "w", lambda job, error: None)
    assert connection.connection_pool.connection_kwargs["socket_timeout"] == REDIS_SECONDS
    connection.close()
