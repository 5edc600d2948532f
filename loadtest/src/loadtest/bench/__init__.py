"""The published measurements: what is started, what is measured, what the figures mean."""
