"""TLS files for Envoy, by its secret discovery service from a file, so that they can be replaced.

https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from rpckit.security import TlsFiles

RELOAD_SECONDS = 0.5
"""Pause between two looks at the files."""

_SECRETS = "secrets.json"
_DOORBELL = "changed"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


def write_secrets(files: TlsFiles, run_dir: Path) -> dict[str, Any]:
    """Name the files to Envoy.

    Args:
        files: What the server listens with.
        run_dir: Where to write what Envoy reads.

    Returns:
        The listener's transport socket.
    """
    # Envoy looks at the files when something is moved into this directory. It is ours, and
    # `follow_changes` does so when they have changed and belong together.
    watched = {"watched_directory": {"path": str(run_dir)}}
    certificate = {
        "certificate_chain": {"filename": str(files.cert)},
        "private_key": {"filename": str(files.key)},
        **watched,
    }
    secrets: list[dict[str, Any]] = [{"name": "certificate", "tls_certificate": certificate}]
    context: dict[str, Any] = {
        "tls_certificate_sds_secret_configs": [_secret("certificate", run_dir)],
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
    }
    if files.ca is not None:
        validation = {"trusted_ca": {"filename": str(files.ca)}, **watched}
        secrets.append({"name": "client_ca", "validation_context": validation})
        context["validation_context_sds_secret_config"] = _secret("client_ca", run_dir)
    resources = [{"@type": f"{_TLS}.Secret", **secret} for secret in secrets]
    (run_dir / _SECRETS).write_text(json.dumps({"resources": resources}))
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


def _secret(name: str, run_dir: Path) -> dict[str, Any]:
    source = {"path_config_source": {"path": str(run_dir / _SECRETS)}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}
