"""Where does the daemon listen on the network, and is that safe? Nothing crosses it in the clear."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eleagent.errors import ConfigError

if TYPE_CHECKING:
    import ssl


def parse_listen(text: str) -> tuple[str, int]:
    """Address and port of `ADDRESS:PORT` or `[ADDRESS]:PORT`. Raises ConfigError."""
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        address = ipaddress.ip_address("127.0.0.1" if bare == "localhost" else bare)
    except ValueError:
        address = None
    if not colon or address is None or (address.version == 6) != (bare != host) or not port.isdecimal():
        raise ConfigError(f"listen: {text!r}: write ADDRESS:PORT, like 127.0.0.1:7420 or [::1]:7420")
    if not 0 <= int(port) < 1 << 16:
        raise ConfigError(f"listen: {text!r}: a port is from 0 (any that is free) to 65535")
    return str(address), int(port)


def check_listen(text: str, *, tls: bool, behind_proxy: bool) -> None:
    """Raises ConfigError for what would carry passwords and tokens in the clear over a network."""
    if text and not ipaddress.ip_address(parse_listen(text)[0]).is_loopback and not tls and not behind_proxy:
        raise ConfigError(
            f"listen: {text!r} can be reached from other machines, without TLS: set tls.cert and tls.key, or"
            " behind_proxy=true where a proxy of yours speaks TLS, or listen on 127.0.0.1 and use --host ssh://"
        )


@dataclass(frozen=True)
class WayIn:
    """A TCP socket that listens, and what speaks TLS on it."""

    listener: socket.socket
    tls: ssl.SSLContext | None


def open_tcp(text: str, *, cert: str, key: str) -> WayIn:
    """Before root is given up: low ports and the key's file may need it. Raises ConfigError."""
    tls = load_tls(cert, key) if cert else None
    return WayIn(bind_tcp(text), tls)


def bind_tcp(text: str) -> socket.socket:
    """A listening TCP socket. Raises ConfigError when it can't be."""
    address, port = parse_listen(text)
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(128)
    except OSError as err:
        listener.close()
        raise ConfigError(f"listen: {text} can't be had: {err.strerror}") from None
    return listener


def load_tls(cert: str, key: str) -> ssl.SSLContext:
    """TLS 1.2 and newer. Raises ConfigError for files that can't be read or don't belong together, and for a key that
    others may read.
    """
    import ssl

    try:
        if (mode := Path(key).stat().st_mode) & 0o077:
            raise ConfigError(f"tls.key: {key} may be read by others (mode {mode & 0o777:o}): chmod 600 {key}")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(cert, key)
    except ssl.SSLError as err:
        raise ConfigError(f"tls: {cert} and {key} are no certificate and key in PEM: {err.reason}") from None
    except OSError as err:
        raise ConfigError(f"tls: {err.filename or cert} can't be read: {err.strerror}") from None
    return context
