"""The search service: movie vectors in Milvus, inner-product searches."""

from __future__ import annotations

import os

# A matrix product of one batch is too small to be shared among threads, which would wait for each
# other by spinning; more load means more replicas. Must be said before numpy is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
