"""Constants of the three services. Imports nothing heavy, so that help texts can use them."""

from __future__ import annotations

from dataclasses import dataclass

EMBEDDER_SERVICE = "marquee.embedder.v1.EmbedderService"
"""Ready once the model has reproduced its golden vectors."""
INDEX_SERVICE = "marquee.search.v1.IndexService"
"""Ready once Milvus answers, so that indexes can be built."""
SEARCH_SERVICE = "marquee.search.v1.SearchService"
"""Ready once an index is active."""
RECOMMENDER_SERVICE = "marquee.recommender.v1.RecommenderService"
"""Ready once the embedder and the search service are."""
LIVENESS = ""
"""Name for the health service that means the server itself: alive, ready or not."""


@dataclass(frozen=True, slots=True)
class Service:
    """One of the three."""

    name: str
    """Short name; its settings are the variables MARQUEE_<NAME>_…"""
    module: str
    """Package that `python -m` runs."""
    port: int
    """Default port."""
    startup_service: str
    """The gRPC service that is ready once the process has started; "": it need only be alive."""

    @property
    def variables(self) -> str:
        """Prefix of its environment variables."""
        return f"MARQUEE_{self.name.upper()}_"


EMBEDDER = Service("embedder", "embedder_service", 50051, EMBEDDER_SERVICE)
SEARCH = Service("search", "search_service", 50052, INDEX_SERVICE)
GATEWAY = Service("gateway", "gateway", 50050, LIVENESS)
SERVICES = (EMBEDDER, SEARCH, GATEWAY)
"""All three, dependencies first."""
