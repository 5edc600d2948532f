"""Trace context, and the export of spans."""
