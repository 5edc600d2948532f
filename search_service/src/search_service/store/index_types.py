"""Index types of Milvus, and their parameters."""

from __future__ import annotations

from typing import Literal

IndexType = Literal["FLAT", "HNSW"]
"""Milvus's name of an index type: brute force, or a graph."""
IndexTypeChoice = Literal["auto", "flat", "hnsw"]
"""Index type of all collections; `auto` depends on the number of movies."""

HNSW_BUILD = {"M": 32, "efConstruction": 256}
"""Build parameters of HNSW: neighbours of a node, and candidates considered for them."""
HNSW_MIN_EF = 128
"""Smallest search parameter `ef` of HNSW: the number of candidates that a search keeps."""


def build_params(index_type: IndexType) -> dict[str, int]:
    """Return the parameters to build an index with."""
    return HNSW_BUILD if index_type == "HNSW" else {}


def search_params(index_type: IndexType, limit: int) -> dict[str, int]:
    """Return the parameters to search an index for `limit` hits with."""
    return {"ef": max(limit, HNSW_MIN_EF)} if index_type == "HNSW" else {}
