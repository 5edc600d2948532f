"""`marquee serve all`: the three services until somebody stops them."""

from __future__ import annotations

import json
import time
from pathlib import Path

from marquee_cli.processes import Interrupted, Ports, Suite, interruptible


def serve_all(*, host: str, ports: Ports, bundle: Path, milvus_uri: str, as_json: bool) -> None:
    """Run the services until SIGTERM or SIGINT; say on stdout where they are.

    Args:
        host: Address that all listen on.
        ports: Their ports.
        bundle: Folder of the model bundle.
        milvus_uri: Where the vectors are kept.
        as_json: Say it as one line of JSON.

    Raises:
        CommandError: A service could not start, or ended by itself.
    """
    started = time.monotonic()
    suite = Suite(host=host, ports=ports, bundle=bundle, milvus_uri=milvus_uri)
    try:
        with interruptible(), suite:
            indexed = suite.has_index()
            if indexed:
                suite.wait_until_ready()
            if as_json:
                where = {service.name: service.target for service in suite.services}
                print(json.dumps({**where, "index": indexed}), flush=True)
            else:
                for service in suite.services:
                    print(f"{service.name:10}{service.target}")
                print(
                    f"Ready after {time.monotonic() - started:.1f} s; Ctrl-C stops all."
                    if indexed
                    else "No index is active yet, so nothing can be recommended; run: marquee index"
                    f" --embedder-target {suite.embedder.target} --search-target "
                    f"{suite.search.target}",
                    flush=True,
                )
            suite.watch()
    except Interrupted:
        return
