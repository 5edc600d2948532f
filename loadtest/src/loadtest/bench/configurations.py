"""The ways in which the suite is run to be measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest.bench.launch import Program, Running, accepts, free_ports, running
from loadtest.bench.secured import Secured
from rpckit.settings.client import ClientSettings

EMBEDDER = "marquee.embedder.v1.EmbedderService"
SEARCH = "marquee.search.v1.SearchService"
INDEX = "marquee.search.v1.IndexService"
RECOMMENDER = "marquee.recommender.v1.RecommenderService"

_ONE_BY_ONE_GATEWAY = ("--max-batch=1", "--max-in-flight=64")
_EACH_TIME = ("--engine=milvus",)
"""Milvus answers each batch, not a replica in memory."""
_ONE_BY_ONE_SEARCH = (*_EACH_TIME, "--max-batch-rows=1", "--max-batches-in-flight=64")
_ENVOY = ("--server=envoy",)
_RESIDENT = ("--engine=resident",)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to run the suite; all that is not named is as shipped."""

    name: str
    gateway: Sequence[str] = ()
    embedder: Sequence[str] = ()
    search: Sequence[str] = ()
    embedders: int = 1
    searches: int = 1
    secured: Secured | None = None
    """TLS and tokens on every hop; None is neither."""

    def unsupported(self) -> str | None:
        """Return the first service that does not know a setting of this, or None."""
        for module, flags in (
            ("gateway", self.gateway),
            ("embedder_service", self.embedder),
            ("search_service", self.search),
        ):
            if flags and not accepts(module, flags):
                return f"{module} does not take {' '.join(flags)}"
        return None


MILVUS = Configuration("milvus", search=_EACH_TIME)
ONE_BY_ONE = Configuration(
    "milvus, max batch 1",
    gateway=_ONE_BY_ONE_GATEWAY,
    embedder=("--max-batch=1",),
    search=_ONE_BY_ONE_SEARCH,
)
LITE = Configuration("lite", search=_EACH_TIME)
LITE_ONE_BY_ONE = Configuration(
    "lite, max batch 1",
    gateway=_ONE_BY_ONE_GATEWAY,
    embedder=("--max-batch=1",),
    search=_ONE_BY_ONE_SEARCH,
)
SECURED = replace(MILVUS, name="milvus, TLS and tokens")
TWO_EMBEDDERS = replace(MILVUS, name="milvus, two embedders", embedders=2)
TWO_SEARCHES = replace(MILVUS, name="milvus, two searches", searches=2)
RESIDENT = Configuration("resident", search=_RESIDENT)
ENVOY_GATEWAY = Configuration("resident, gateway on Envoy", gateway=_ENVOY, search=_RESIDENT)
ENVOY = Configuration(
    "resident, all on Envoy", gateway=_ENVOY, embedder=_ENVOY, search=(*_ENVOY, *_RESIDENT)
)
FAST = (RESIDENT, ENVOY_GATEWAY, ENVOY)
"""Configurations among which the fastest is looked for."""


@dataclass(frozen=True, slots=True)
class Suite:
    """A suite that is ready."""

    gateway: Running
    embedders: Sequence[Running]
    searches: Sequence[Running]

    @property
    def pids(self) -> dict[str, int]:
        """Processes by name, for CPU and memory."""
        return {each.name: each.pid for each in (self.gateway, *self.embedders, *self.searches)}

    def endpoint(self, method: str) -> ClientSettings:
        """Return where a method is; with several replicas, at the first."""
        if method == "Recommend":
            return self.gateway.endpoint
        servers = self.searches if method == "SearchMovies" else self.embedders
        return servers[0].endpoint


@contextmanager
def started(
    configuration: Configuration, *, bundle: Path, milvus_uri: str, logs: Path
) -> Iterator[Suite]:
    """Run a configuration's services; the gateway is alive inside, and ready once an index is.

    Args:
        configuration: What to run.
        bundle: The model.
        milvus_uri: A Milvus server, or a folder for Milvus Lite.
        logs: Folder for what the services print.

    Raises:
        LaunchError: A service did not start.
    """
    secured = configuration.secured
    embedders = _replicas(
        "embedder", "embedder_service", configuration.embedders, EMBEDDER,
        [f"--bundle={bundle}", *configuration.embedder], secured,
    )  # fmt: skip
    searches = _replicas(
        "search", "search_service", configuration.searches, INDEX,
        [f"--milvus-uri={milvus_uri}", *configuration.search], secured,
    )  # fmt: skip
    behind = [f"--embedder-target={_target(embedders)}", f"--search-target={_target(searches)}"]
    if secured:
        behind += [*secured.client("embedder"), *secured.client("search")]
    (gateway,) = _replicas("gateway", "gateway", 1, "", [*behind, *configuration.gateway], secured)
    with ExitStack() as stack:
        ready = [stack.enter_context(running(each, logs)) for each in (*embedders, *searches)]
        front = stack.enter_context(running(gateway, logs))
        yield Suite(front, ready[: len(embedders)], ready[len(embedders) :])


def _replicas(
    name: str,
    module: str,
    number: int,
    ready: str,
    arguments: Sequence[str],
    secured: Secured | None,
) -> list[Program]:
    flags = ["--metrics-port=0", "--shutdown-delay-s=0", *arguments]
    if secured:
        flags += secured.server
    return [
        Program(f"{name} {each}" if number > 1 else name, module, port, flags, ready, secured)
        for each, port in enumerate(free_ports(number), start=1)
    ]


def _target(programs: Sequence[Program]) -> str:
    if len(programs) == 1:
        return programs[0].endpoint.target
    return "ipv4:" + ",".join(each.endpoint.target for each in programs)
