"""The wire contract between the HTTP front end and the workers: plain data, no behavior."""
