"""Observability: metrics, traces and logs of a process."""
