"""The queue worker: takes jobs from RQ and runs them on one device."""
