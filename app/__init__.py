"""The HTTP front end: it checks requests, queues jobs and serves results."""
