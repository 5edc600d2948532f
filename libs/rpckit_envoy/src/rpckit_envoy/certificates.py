"""TLS files for Envoy, by file-based secret discovery (SDS), so that they can be replaced.

https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from rpckit.security.tls import TlsFiles, TlsMaterial
from rpckit.security.watched_files import FileWatcher

RELOAD_SECONDS = 0.5
"""Pause between checks of the files."""

_RELOAD_MARKER = "changed"
_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"


def write_secrets(files: TlsFiles, run_dir: Path) -> dict[str, Any]:
    """Write the secrets that refer to the TLS files.

    Args:
        files: TLS files of the server.
        run_dir: Directory to write to.

    Returns:
        The transport socket of the listener.

    Raises:
        StartupError: The files are invalid. (Envoy would silently wait for valid ones.)
    """
    files.watch(interval=0)
    # Envoy reloads the files when a file is moved into this directory. `reload_on_change` moves one
    # there when the files have changed and are valid together.
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


async def reload_on_change(certificates: FileWatcher[TlsMaterial], run_dir: Path) -> None:
    """Make Envoy reload the files whenever they change, until cancelled.

    It waits until they are valid together, because files are replaced one after the other.

    Args:
        certificates: TLS files of the server.
        run_dir: Directory that `write_secrets` wrote to.

    Raises:
        OSError: Envoy cannot be told, and so cannot follow the files any more.
    """
    current = None  # the files may have changed since Envoy read them, so it is told at once
    while True:
        if (material := certificates.get()) is not current:
            current = material
            (run_dir / f".{_RELOAD_MARKER}").touch()
            (run_dir / f".{_RELOAD_MARKER}").replace(run_dir / _RELOAD_MARKER)
        await asyncio.sleep(RELOAD_SECONDS)


def _write(run_dir: Path, name: str, secret: dict[str, Any]) -> dict[str, Any]:
    """Write a secret to a file of its own, as Envoy requires, and return its reference."""
    path = run_dir / f"{name}.json"
    resource = {"@type": f"{_TLS}.Secret", "name": name, **secret}
    path.write_text(json.dumps({"resources": [resource]}))
    source = {"path_config_source": {"path": str(path)}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": source}
