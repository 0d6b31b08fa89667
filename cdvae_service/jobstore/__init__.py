"""The ledger of jobs in Redis, shared by the front end and the workers."""
