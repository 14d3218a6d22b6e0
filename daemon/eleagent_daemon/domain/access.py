"""Whose is a thing, and who may see it or act on it?"""

from __future__ import annotations

from dataclasses import dataclass

from eleagent.permissions import Reach


@dataclass(frozen=True, kw_only=True)
class Owned:
    """A thing that belongs to somebody. `id` is what handlers and records call it; `owner` is a user's name; what is in
    a `project` is shared with its members unless it is `private`. `driver` is who drives the session, where somebody
    else than its owner may.
    """

    id: str
    owner: str
    project: str = ""
    private: bool = False
    driver: str = ""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What of one kind a caller's permission reaches: everything, or what is `user`'s and what `projects` share.
    `within` are the only projects that a bound key knows; it `drives`: a driver has it as an owner does.
    """

    reach: Reach
    user: str
    projects: frozenset[str] = frozenset()
    within: frozenset[str] | None = None
    drives: bool = False

    def reaches(self, thing: Owned) -> bool:
        return self.reach >= self.needs(thing)

    def needs(self, thing: Owned) -> Reach | float:
        """How far a permission must go for this caller to have it over `thing`; past every reach where a key's bounds
        leave it out.
        """
        if self.within is not None and thing.project not in self.within:
            return float("inf")
        if thing.owner == self.user or (self.drives and thing.driver != "" and thing.driver == self.user):
            return Reach.OWN
        if thing.project in self.projects and not thing.private:
            return Reach.PROJECT
        return Reach.ANY
