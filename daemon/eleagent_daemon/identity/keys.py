"""How does a machine become known by an API key, and never for more than its maker may?"""

from __future__ import annotations

import hmac
import ipaddress
import math
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from eleagent.errors import BadRequest, NotFound, Refused, StorageUnavailable, Unauthenticated
from eleagent.permissions import Reach
from eleagent.roles import KEY_GROUPS, Grants, reach_of
from eleagent.wire.keys import ApiKey, ApiKeyCreate
from eleagent_daemon.domain.access import Owned, Sight
from eleagent_daemon.identity import opaque
from eleagent_daemon.identity.keyring import Keyring
from eleagent_daemon.identity.logins import rfc3339
from eleagent_daemon.store.apikeys import Bounds, KeyRow, KeyRows
from eleagent_daemon.store.people import People, User

DAYS_MOST: Final = 365
KEYS_EACH: Final = 100

_USED_S: Final = 600.0
"""How exactly `used` is known."""
_NOTE_CHARACTERS: Final = 100


class ApiKeys:
    def __init__(
        self, *, rows: KeyRows, people: People, keyring: Keyring, clock: Callable[[], float] = time.time
    ) -> None:
        self._rows = rows
        self._people = people
        self._keyring = keyring
        self._clock = clock

    async def make(self, wanted: ApiKeyCreate, maker: User, grants: Grants) -> tuple[ApiKey, str]:
        """The key and its secret. Raises BadRequest, and Refused for more than the maker may (`grants`)."""
        scopes = _scopes(wanted, grants)
        if not wanted.note.strip() or len(wanted.note) > _NOTE_CHARACTERS or not wanted.note.isprintable():
            raise BadRequest(f"a key needs a note that says what it is for, of at most {_NOTE_CHARACTERS} characters")
        if not 1 <= wanted.days <= DAYS_MOST:
            raise BadRequest(f"a key expires after 1 to {DAYS_MOST} days, not {wanted.days}")
        if wanted.sessions is not None and wanted.sessions < 1:
            raise BadRequest(f"sessions: a key bound to {wanted.sessions} could start none: write 1 or more")
        if wanted.day_usd is not None and not 0 < wanted.day_usd < math.inf:
            raise BadRequest(f"day_usd: a key bound to {wanted.day_usd:g} USD a day could spend nothing: write more")
        if sum(row.user == maker.id for row in self._rows.list_rows()) >= KEYS_EACH:
            raise BadRequest(f"{maker.name} has {KEYS_EACH} keys: revoke some first")
        at = self._clock()
        token = opaque.make("eak")
        row = KeyRow(
            id=token.id, user=maker.id, note=wanted.note, grp=wanted.group or "", created=at,
            expires=at + wanted.days * 86400.0, hash=self._keyring.hash(token.text), pepper=self._keyring.pepper,
            bounds=Bounds(
                scopes=scopes, projects=frozenset(wanted.projects), agents=frozenset(wanted.agents),
                networks=tuple(_network(text) for text in wanted.networks), sessions=wanted.sessions,
                day_usd=wanted.day_usd,
            ),
        )  # fmt: skip
        await self._rows.add(row)
        return self.describe(row), token.text

    async def read(self, text: str, address: str) -> tuple[KeyRow, User]:
        """The key that `text` is, in force and in its networks, and its maker. Raises Unauthenticated."""
        given = opaque.read("eak", text)
        row = self.find(given.id) if given else None
        hashed = self._keyring.hash(text, row.pepper if row else None)
        if row is None or not hmac.compare_digest(row.hash, hashed):
            raise Unauthenticated("the API key is not valid: eleagent key ls lists yours", reason="invalid")
        found = self.get(row.id, address)
        if row.used is None or self._clock() - row.used > _USED_S or row.pepper != self._keyring.pepper:
            hashed = self._keyring.hash(text)
            with suppress(StorageUnavailable):  # a key opens what it opens on a full disk too
                await self._rows.used(row.id, self._clock(), hashed=hashed, pepper=self._keyring.pepper)
        return found

    def get(self, identifier: str, address: str) -> tuple[KeyRow, User]:
        """A key that is known already. Raises Unauthenticated once it is not in force."""
        row = self.find(identifier)
        user = self._people.find_by_id(row.user) if row is not None else None
        if row is None or user is None or not user.active:
            raise Unauthenticated("this API key has ended: its maker can make another", reason="ended")
        if row.bounds.networks and not _is_within(address or "127.0.0.1", row.bounds.networks):
            raise Unauthenticated(f"this API key may not come from {address or 'this machine'}", reason="network")
        return row, user

    def find(self, identifier: str) -> KeyRow | None:
        """A key that is in force."""
        row = self._rows.find(identifier)
        return row if row is not None and self._clock() < row.expires else None

    async def find_owned(self, identifier: str, sight: Sight) -> Owned:
        """Raises NotFound."""
        row = self._rows.find(identifier)
        thing = Owned(id=identifier, owner=self._maker(row)) if row is not None else None
        if thing is None or not sight.reaches(thing):
            raise NotFound(f"no key {identifier!r}: eleagent key ls lists them")
        return thing

    def list_keys(self, sight: Sight) -> list[ApiKey]:
        keys = [self.describe(row) for row in self._rows.list_rows()]
        return [key for key in keys if sight.reaches(Owned(id=key.id, owner=key.user))]

    async def revoke(self, identifier: str) -> ApiKey:
        """Raises NotFound for one that was revoked meanwhile."""
        if (row := self._rows.find(identifier)) is None:
            raise NotFound(f"no key {identifier!r}: eleagent key ls lists them")
        await self._rows.revoke([identifier], self._clock())
        return self.describe(row)

    async def revoke_all(self, user: User | None) -> None:
        """Of one user, or everybody's."""
        ids = [row.id for row in self._rows.list_rows() if user is None or row.user == user.id]
        await self._rows.revoke(ids, self._clock())

    def describe(self, row: KeyRow) -> ApiKey:
        bounds = row.bounds
        return ApiKey(
            id=row.id,
            user=self._maker(row),
            note=row.note,
            group=row.grp,
            scopes=sorted(bounds.scopes),
            projects=sorted(bounds.projects),
            agents=sorted(bounds.agents),
            networks=list(bounds.networks),
            sessions=bounds.sessions,
            day_usd=bounds.day_usd,
            created=rfc3339(row.created),
            expires=rfc3339(row.expires),
            used=rfc3339(row.used) if row.used is not None else None,
        )

    def _maker(self, row: KeyRow) -> str:
        user = self._people.find_by_id(row.user)
        return user.name if user else ""


def _scopes(wanted: ApiKeyCreate, grants: Grants) -> frozenset[str]:
    """What the key may do. Raises BadRequest for what is no scope, Refused for what the maker may not."""
    if (wanted.group is None) == (not wanted.scopes):
        raise BadRequest(f"a key has either a group ({', '.join(KEY_GROUPS)}) or scopes of its own: name one of both")
    if wanted.group is not None:
        if wanted.group not in KEY_GROUPS:
            raise BadRequest(f"there is no key group {wanted.group!r}: there are {', '.join(KEY_GROUPS)}")
        return KEY_GROUPS[wanted.group]
    try:
        reach_of(wanted.scopes)
    except ValueError as err:
        raise BadRequest(f"{err}: docs/roles.md lists them all") from None
    beyond = [
        scope
        for scope in wanted.scopes
        for permission, reach in reach_of([scope]).items()
        if grants.get(permission, Reach.NONE) < (reach if reach is Reach.ANY else Reach.OWN)
    ]
    if beyond:
        raise Refused(f"you may not do that yourself, so a key of yours can't: {', '.join(sorted(set(beyond)))}")
    return frozenset(wanted.scopes)


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        raise BadRequest(f"network {text!r}: write an address or a CIDR, like 192.0.2.0/24") from None


def _is_within(address: str, networks: tuple[str, ...]) -> bool:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(parsed in ipaddress.ip_network(network) for network in networks)
