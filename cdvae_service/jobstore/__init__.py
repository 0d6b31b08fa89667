"""What the front end and the workers stand on: the ledger of jobs, results, logs, traces."""
