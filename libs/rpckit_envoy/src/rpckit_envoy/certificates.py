"""TLS files for Envoy, by its secret discovery service from a file, so that they can be replaced.

https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from rpckit.security.tls import TlsFiles

RELOAD_SECONDS = 0.5
"""Pause between two looks at the files."""

_DOORBELL = "changed"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


def write_secrets(files: TlsFiles, run_dir: Path) -> dict[str, Any]:
    """Name the files to Envoy.

    Args:
        files: What the server listens with.
        run_dir: Where to write what Envoy reads.

    Returns:
        The listener's transport socket.

    Raises:
        StartupError: The files are no good; Envoy would wait for better ones and not say so.
    """
    files.watch(interval=0)
    # Envoy looks at the files when something is moved into this directory. It is ours, and
    # `follow_changes` does so when they have changed and belong together.
    watched = {"watched_directory": {"path": str(run_dir)}}
    certificate = {
        "certificate_chain": {"filename": str(files.cert)},
        "private_key": {"filename": str(files.key)},
        **watched,
    }
    context: dict[str, Any] = {
        "tls_certificate_sds_secret_configs": [
            _write(run_dir, "certificate", {"tls_certificate": certificate})
        ],
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
    }
    if files.ca is not None:
        validation = {"trusted_ca": {"filename": str(files.ca)}, **watched}
        context["validation_context_sds_secret_config"] = _write(
            run_dir, "client_ca", {"validation_context": validation}
        )
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TLS}.DownstreamTlsContext",
            "common_tls_context": context,
            "require_client_certificate": files.ca is not None,
        },
    }


async def follow_changes(files: TlsFiles, run_dir: Path) -> None:
    """Let Envoy take the files over whenever they change, until cancelled.

    Only once they can be loaded together: files are replaced one after the other.
    """
    watched = files.watch(interval=0)
    known = watched.get()
    while True:
        await asyncio.sleep(RELOAD_SECONDS)
        if (material := watched.get()) is not known:
            known = material
            (run_dir / f".{_DOORBELL}").touch()
            (run_dir / f".{_DOORBELL}").replace(run_dir / _DOORBELL)


def _write(run_dir: Path, name: str, secret: dict[str, Any]) -> dict[str, Any]:
    """Write a secret to a file of its own, as Envoy wants it, and return the reference to it."""
    path = run_dir / f"{name}.json"
    resource = {"@type": f"{_TLS}.Secret", "name": name, **secret}
    path.write_text(json.dumps({"resources": [resource]}))
    source = {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}
