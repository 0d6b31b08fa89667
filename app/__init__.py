"""The HTTP front end: checks requests, puts jobs on the queue, hands out results."""
