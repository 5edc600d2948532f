"""Writes the pages that follow from the code: settings, errors, metrics, published measurements.

`make docs` runs it. With --check it writes nothing and fails where a page is out of date.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from embedder_service.settings import EmbedderSettings
from gateway.settings import GatewaySettings
from loadtest.report.markdown import sections
from loadtest.results import Results
from rpckit.errors import ServiceError
from rpckit.observing.metrics import definitions as metrics
from rpckit.observing.metrics.instruments import Definition
from rpckit.settings.loading import REQUIRED, Setting, describe, format_value
from rpckit.settings.server import ServerSettings
from search_service.settings import SearchSettings

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PUBLISHED = DOCS / "results" / "published.json"
"""The run that `make bench-publish` made the published one."""
NOTICE = "<!-- Written by docs/generate.py from the code; `make docs` writes it anew. -->\n\n"

SERVICES: dict[str, type[ServerSettings]] = {
    "embedder": EmbedderSettings,
    "search": SearchSettings,
    "gateway": GatewaySettings,
}

CONFIGURATION = """\
# Configuration

Each service has one settings class, and every setting one name in three spellings: the field
`log_level`, the flag `--log-level`, and the environment variable `MARQUEE_EMBEDDER_LOG_LEVEL`
(likewise `MARQUEE_SEARCH_…` and `MARQUEE_GATEWAY_…`). A flag wins over its variable, a variable
over the default.

- `python -m gateway --print-config` prints what is in effect, and where each value comes from, as
  JSON without secrets; `-h` explains every flag.
- A flag or a variable of the prefix that nobody knows, a value out of range, and settings that
  contradict each other stop the start with one line on stderr and exit code 2.
- An empty variable counts as not set. The word `none` unsets what is optional.
- A switch has a flag for each direction, `--reflection` and `--no-reflection`; its variable is
  `true` or `false`. A size may have a unit, as in `8MiB`.
- On Kubernetes set `enableServiceLinks: false`: for a Service named `marquee-gateway` it would
  otherwise add variables such as `MARQUEE_GATEWAY_PORT=tcp://…`, which are refused.
"""

ERRORS = """\
# Errors

A call fails with a gRPC status and nothing else; an OK carries no error, unless the request asked
for partial success (`return_partial_success`). Beside code and message there are details
(google.rpc, in the trailer `grpc-status-details-bin`):

- `ErrorInfo` always: its `reason` is the first column, its `domain` is `marquee`, its `metadata`
  says which thing was meant.
- `BadRequest` where fields are at fault: each violation names the field by its path, as in
  `users[3].age`.
- `RetryInfo` where waiting helps: not before `retry_delay`, and with backoff.

A message may change from release to release; codes and reasons do not. Rely on these.
"""

METRICS = """\
# Metrics

Each service publishes them on an HTTP port of its own (`--metrics-port`), at `/metrics`, for
Prometheus to scrape. `deploy/grafana/marquee.json` is a dashboard of them, and
`deploy/prometheus/alerts.yml` has the alerts. Beside these there are prometheus_client's
`process_*` (CPU, resident memory, file descriptors) and `python_gc_*`.

Times are in seconds. Queue wait, work, and time in the server are measured apart, so that a slow
answer can be told from one that waited: in one service, wait + work ≈ time in the server.
"""

RESULTS = """\
# Performance: results

One run of `make bench` as it came, from `docs/results/published.json`; what each ratio means is
read from the code (`loadtest.bench.ratios`). [performance.md](performance.md) says how to read it,
[performance-log.md](performance-log.md) why the figures are what they are.

"""


def configuration() -> str:
    """Return docs/configuration.md."""
    common = describe(ServerSettings)
    names = {setting.name: setting for setting in common}
    parts = [NOTICE, CONFIGURATION, "\n## All services\n\n"]
    parts += table(
        ["Flag", "Value", "Default", "Meaning"],
        ([f"`{s.flag}`", value(s), default(s), s.description] for s in common),
    )
    for service, cls in SERVICES.items():
        own = [s for s in describe(cls) if is_news(s, names.get(s.name))]
        parts.append(f"\n## {service}\n\n")
        parts += table(
            ["Flag", "Variable", "Value", "Default", "Meaning"],
            ([f"`{s.flag}`", f"`{s.env}`", value(s), default(s), s.description] for s in own),
        )
    return "".join(parts)


def is_news(setting: Setting, common: Setting | None) -> bool:
    """Tell whether a service's setting is its own, or has a default of its own."""
    return common is None or setting.default != common.default


def value(setting: Setting) -> str:
    """Return what may be given."""
    choices = [f"`{choice}`" for choice in setting.kind.split("|")]
    kind = setting.kind if len(choices) == 1 else ", ".join(choices)
    return f"{kind}, `none`" if setting.optional else kind


def default(setting: Setting) -> str:
    """Return the default, as it would be given."""
    if setting.default is REQUIRED:
        return "*required*"
    text = format_value(setting.default)
    return f"`{text}`" if text else "*empty*"


def errors() -> str:
    """Return docs/errors.md."""
    rows = (
        [f"`{e.reason}`", f"`{e.code.name}`", origin(e), e.when, e.action]
        for e in sorted(error_classes(), key=lambda e: (origin(e) != "all", origin(e), e.reason))
    )
    header = ["Reason", "Status", "From", "When", "What to do"]
    return "".join([NOTICE, ERRORS, "\n", *table(header, rows)])


def error_classes() -> list[type[ServiceError]]:
    """Return the concrete errors of all services."""
    for module in error_modules():
        importlib.import_module(module)
    found: list[type[ServiceError]] = []
    pending = [ServiceError]
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if "reason" in vars(cls):
            found.append(cls)
    return found


def error_modules() -> Iterator[str]:
    """Yield the modules that define errors, so that none is forgotten here."""
    for package in ("libs/rpckit", "embedder_service", "search_service", "gateway"):
        source = ROOT / package / "src"
        for path in sorted(source.rglob("*.py")):
            if "\n    reason = " in path.read_text():
                yield ".".join(path.relative_to(source).with_suffix("").parts)


def origin(error: type[ServiceError]) -> str:
    """Return the services that an error comes from."""
    package = error.__module__.partition(".")[0]
    return "all" if package == "rpckit" else package.removesuffix("_service")


def metric_reference() -> str:
    """Return docs/metrics.md."""
    parts = [NOTICE, METRICS, "\n"]
    parts += table(
        ["Metric", "Type", "Labels", "Meaning"],
        ([f"`{m.name}`", m.kind, labels(m), m.help] for m in metrics.METRICS),
    )
    parts.append("\n## Buckets\n\n")
    for buckets in dict.fromkeys(m.buckets for m in metrics.METRICS if m.buckets):
        of = [m.name for m in metrics.METRICS if m.buckets == buckets]
        bounds = ", ".join(f"{bound:g}" for bound in buckets)
        parts.append(f"- {', '.join(f'`{name}`' for name in of)}: {bounds}\n")
    return "".join(parts)


def performance_results() -> str:
    """Return docs/performance-results.md."""
    return "".join([NOTICE, RESULTS, sections(Results.read(PUBLISHED))])


def labels(metric: Definition) -> str:
    """Return a metric's labels."""
    return ", ".join(f"`{label}`" for label in metric.labels)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield f"| {' | '.join(header)} |\n"
    yield f"|{' --- |' * len(header)}\n"
    for row in rows:
        cells = [inspect.cleandoc(cell).replace("|", "\\|") for cell in row]
        yield f"| {' | '.join(cells)} |\n"


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail where a page is out of date")
    check = parser.parse_args().check
    pages = {
        DOCS / "configuration.md": configuration(),
        DOCS / "errors.md": errors(),
        DOCS / "metrics.md": metric_reference(),
        DOCS / "performance-results.md": performance_results(),
    }
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text() != text]
    if check and stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        raise SystemExit(f"{names}: not what the code says; run `make docs`")
    for path in stale:
        path.write_text(pages[path])


if __name__ == "__main__":
    main()
