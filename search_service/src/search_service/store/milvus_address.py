"""Where the indexes are kept: the address of a Milvus server, or a folder of Milvus Lite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from rpckit.addresses import is_ip_address, join_host_port
from rpckit.security.tls import TlsFiles

_DEFAULT_PORTS = {"http": 19530, "https": 443}


@dataclass(frozen=True, slots=True)
class MilvusAddress:
    """How to reach a Milvus server."""

    uri: str
    """URI with the scheme http or https; see `check_uri`."""
    token: str = ""
    """`user:password` or an API key; empty sends none."""
    database: str = ""
    """Database of the server; empty means its default one."""
    tls: TlsFiles | None = None
    """CA of the server's certificate and, for servers that ask for one, the client's certificate.
    None: a server with https has a certificate of a public CA."""
    tls_server_name: str | None = None
    """Name expected in the server's certificate, if it is not the URI's host."""
    proxy: bool = False
    """Whether to go through the proxy that `https_proxy` and its like name."""

    @property
    def secure(self) -> bool:
        """Whether the connection has TLS."""
        return urlsplit(self.uri).scheme == "https"

    @property
    def target(self) -> str:
        """Host and port; an IPv6 address has brackets."""
        parts = urlsplit(self.uri)
        return join_host_port(parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme])

    def client_arguments(self) -> dict[str, Any]:
        """Return the arguments of pymilvus's client for this server."""
        arguments: dict[str, Any] = {
            "uri": self.uri.rstrip("/") + "/",  # else http://milvus.db would be a Milvus Lite
            "token": self.token,
            "db_name": self.database,
            "grpc_options": {
                # By default gRPC waits up to two minutes before it tries to reconnect.
                "grpc.max_reconnect_backoff_ms": 500,
                "grpc.enable_http_proxy": int(self.proxy),
            },
        }
        if self.tls_server_name is not None:
            arguments["server_name"] = self.tls_server_name
        match self.tls:
            case TlsFiles(cert=None, ca=ca):
                arguments["server_pem_path"] = str(ca)  # pymilvus's name for a CA on its own
            case TlsFiles(cert=cert, key=key, ca=ca):
                arguments |= {
                    "client_pem_path": str(cert),
                    "client_key_path": str(key),
                    "ca_pem_path": str(ca),
                }
        return arguments


def is_server(uri: str) -> bool:
    """Tell whether a URI that `check_uri` accepts names a server rather than a folder."""
    return urlsplit(uri).scheme in _DEFAULT_PORTS


def check_uri(uri: str) -> None:
    """Check that a text is the URI of a server or the name of a folder.

    `localhost:19530` would be a valid name of a folder, but means a server.

    Raises:
        ValueError: It is neither, or an address without a scheme; the message has advice.
    """
    if uri.lower().startswith(("http://", "https://")):
        _check_server(uri)
    elif "://" in uri:
        raise ValueError("must be an http:// or https:// URI or a folder")
    elif _is_address(uri):
        raise ValueError(f"must have a scheme if it is a server, as in {_with_scheme(uri)}")


def _check_server(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        _ = parts.port  # parsed when it is read
    except ValueError:
        raise ValueError(
            "must be like http://HOST:PORT, with an IPv6 address in brackets as in "
            "http://[::1]:19530"
        ) from None
    if not parts.hostname:
        raise ValueError("must name a host")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError("must end after the host and port; milvus_database names a database")


def _is_address(text: str) -> bool:
    """Tell whether a text without a scheme looks like an address; most host names do not."""
    host = text.partition("/")[0]
    return ":" in host or host == "localhost" or is_ip_address(host)


def _with_scheme(address: str) -> str:
    """Return the URI that somebody means by an address, without user name and password."""
    host = address.partition("/")[0].rpartition("@")[2]
    has_port = ":" in host.rpartition("]")[2] and not is_ip_address(host)
    if not has_port:
        bare = host.removeprefix("[").removesuffix("]")
        host = join_host_port(bare, _DEFAULT_PORTS["http"])
    return f"http://{host}"
