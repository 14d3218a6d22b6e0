"""Does every role and every scope reach exactly as far as the table says?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eleagent.permissions import Permission, Reach, Role
from eleagent.roles import ROLES, grants, reach_of
from eleagent_daemon.domain.access import Owned, Sight

scopes = st.frozensets(st.builds(str.__add__, st.sampled_from(Permission), st.sampled_from(["", "@any"])))


def test_permissions_roles_are_ordered_where_people_hold_them() -> None:
    for less, more in ((Role.MEMBER, Role.ADMIN), (Role.ADMIN, Role.OWNER)):
        assert all(reach <= grants(more).get(permission, Reach.NONE) for permission, reach in grants(less).items())


def test_permissions_table_grants_nothing_by_name_alone() -> None:
    for role in Role:
        assert all(reach > Reach.NONE for reach in ROLES[role].values())


@given(st.sampled_from(Role), scopes)
def test_permissions_scopes_only_take_away(role: Role, some: frozenset[str]) -> None:
    cut = grants(role, some)
    for permission, reach in cut.items():
        assert reach <= grants(role)[permission]
        assert reach <= reach_of(some)[permission]
    assert grants(role, frozenset()) == {}


@given(st.sampled_from(Role), scopes, scopes)
def test_permissions_fewer_scopes_never_reach_further(role: Role, some: frozenset[str], more: frozenset[str]) -> None:
    wide = grants(role, some | more)
    assert all(reach <= wide[permission] for permission, reach in grants(role, some).items())


@pytest.mark.parametrize("scope", ["", "session", "session:", "session:read@", "session:read@own", "all:all", "*"])
def test_permissions_unknown_scope_is_refused(scope: str) -> None:
    with pytest.raises(ValueError, match=r"scope|valid"):
        reach_of([scope])


names = st.sampled_from(["ada", "bob"])
projects = st.sampled_from(["", "apollo", "zeus"])
things = st.builds(lambda owner, project, private: Owned(id="x", owner=owner, project=project, private=private),
                   names, projects, st.booleans())  # fmt: skip


@given(things, st.frozensets(projects), st.none() | st.frozensets(projects), names)
def test_sight_of_more_reach_sees_no_less(
    thing: Owned, shared: frozenset[str], within: frozenset[str] | None, user: str
) -> None:
    seen = [Sight(reach=reach, user=user, projects=shared, within=within).reaches(thing) for reach in Reach]
    assert seen == sorted(seen)
    assert not seen[Reach.NONE]
    assert seen[Reach.ANY] == (within is None or thing.project in within)
    if thing.private and thing.owner != user:
        assert not seen[Reach.PROJECT]
