"""The stages: cached, retried, observable Prefect tasks."""
