"""Trains the fusion recommendation model on MovieLens and exports its bundle."""
