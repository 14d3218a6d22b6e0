"""How do tests meet a daemon over HTTPS? The scripted one on a loopback port, with an authority made for the run."""

from __future__ import annotations

import ipaddress
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from eleagent.errors import StepUp, Unauthenticated
from eleagent.operations.table import BY_ID
from eleagent.permissions import Role
from eleagent.wire.logins import (
    Login,
    LoginConfirm,
    LoginCreate,
    LoginEnded,
    LoginRefresh,
    Tokens,
    Via,
    Whoami,
)
from eleagent.wire.users import User

from .fakedaemon import Call, FakeDaemon, Handler, Script

PASSWORD = "correct horse battery staple"
API_KEY = "eak_0123456789ab_" + "s" * 49


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True

    def __init__(self, fake: FakeDaemon, tls: ssl.SSLContext | None) -> None:
        self.fake = fake
        self.tls = tls
        super().__init__(("127.0.0.1", getattr(fake, "port", 0)), Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls:
            request = self.tls.wrap_socket(request, server_side=True)
        super().finish_request(request, client_address)
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@dataclass
class WebDaemon(FakeDaemon):
    """Knows `ada` by her password, refresh tokens that are good once, and one API key. `life_s`: of access tokens;
    `fresh`: the password was given just now, without which no user is deleted.
    """

    tls: ssl.SSLContext | None = None
    port: int = 0
    life_s: float = 600.0
    access: set[str] = field(default_factory=set)
    refresh: set[str] = field(default_factory=set)
    refreshed: int = 0
    fresh: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self._lock = threading.Lock()
        self._made = 0
        self.scripts |= {"login_confirm": self._confirm, "user_delete": self._user_delete,
                         "login": self._login, "login_refresh": self._refresh, "logout": self._logout,
                         "whoami": self._whoami}  # fmt: skip

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def start(self) -> None:
        server = _Server(self, self.tls)
        self.port = server.server_address[1]
        self.server = server  # type: ignore[assignment]
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()

    def script_for(self, operation: str) -> Script | None:
        """Whoever is not known is refused before any script."""
        script = self.scripts.get(operation)
        if BY_ID[operation].anyone:
            return script

        def guarded(call: Call) -> Any:
            scheme, _, token = call.headers.get("Authorization", "").partition(" ")
            if scheme != "Bearer" or token not in self.access | {API_KEY}:
                raise Unauthenticated("who is calling is not known")
            return script(call) if script else None

        return guarded

    def _login(self, call: Call) -> Tokens:
        body = call.decoded(LoginCreate)
        if (body.user, body.password) != ("ada", PASSWORD):
            raise Unauthenticated("user or password is wrong")
        return self._tokens()

    def _refresh(self, call: Call) -> Tokens:
        token = call.decoded(LoginRefresh).refresh
        with self._lock:
            if token not in self.refresh:
                self.access.clear()
                self.refresh.clear()
                raise Unauthenticated("that refresh token was used before: the login has ended")
            self.refresh.remove(token)
            self.refreshed += 1
        return self._tokens()

    def _logout(self, call: Call) -> LoginEnded:
        self.access.clear()
        self.refresh.clear()
        return LoginEnded(id="l-1")

    def _confirm(self, call: Call) -> Login:
        if call.decoded(LoginConfirm).password != PASSWORD:
            raise Unauthenticated("user or password is wrong", reason="password")
        self.fresh = True
        now = datetime.now(UTC).isoformat()
        return Login(id="l-1", user="ada", created=now, confirmed=now, seen=now, expires=now)

    def _user_delete(self, call: Call) -> User:
        if not self.fresh:
            raise StepUp("user.delete takes a password that was given in the last 5 minutes: give it once more")
        return User(id="u-2", name="bob", role=Role.MEMBER, state="active", source="owner", created="")

    def _whoami(self, call: Call) -> Whoami:
        via = Via.KEY if API_KEY in call.headers["Authorization"] else Via.LOGIN
        return Whoami(user="ada", user_id="u-1", role="member", organization="Acme", via=via, credential="l-1")

    def _tokens(self) -> Tokens:
        now = datetime.now(UTC)
        with self._lock:
            self._made += 1
            access, refresh = f"access-secret-{self._made}", f"refresh-secret-{self._made}"
            self.access.add(access)
            self.refresh.add(refresh)
        return Tokens(
            login="l-1", user="ada", access=access, access_expires=(now + timedelta(seconds=self.life_s)).isoformat(),
            refresh=refresh, expires=(now + timedelta(hours=12)).isoformat(), idle_s=1800.0,
        )  # fmt: skip


@dataclass
class Authority:
    """`cacert` is what clients trust; `server_tls` speaks for a name."""

    folder: Path

    @property
    def cacert(self) -> Path:
        return self.folder / "ca.pem"

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "an authority of the tests")])
        certificate = (
            _certificate(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.cacert.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def server_tls(self, *, address: str | None = "127.0.0.1", name: str | None = None) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        names: list[x509.GeneralName] = []
        names += [x509.IPAddress(ipaddress.ip_address(address))] if address else []
        names += [x509.DNSName(name)] if name else []
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a daemon of the tests")])
        certificate = (
            _certificate(subject, self._name, key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        place = self.folder / f"server-{name or address}.pem"
        place.write_bytes(
            certificate.public_bytes(serialization.Encoding.PEM)
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(place)
        return context


def _certificate(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True, key_cert_sign=signs_certificates, crl_sign=signs_certificates, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


@contextmanager
def serving(folder: Path, tls: ssl.SSLContext | None) -> Iterator[WebDaemon]:
    with WebDaemon(folder / "unused", tls=tls) as daemon:
        yield daemon
