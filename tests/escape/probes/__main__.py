"""What can a process do from inside this sandbox?

`python3 /data/probes [--only NAME,…] [--group G] [--given JSON] [--list]`. One JSON line a probe: {"probe",
"contained", "outcome"}. It needs Debian's python3 alone. Exit 1: something got out.
"""

from __future__ import annotations

import argparse
import json
import sys

import devices
import doors
import files
import identity
import kernel
import limits
import memory_of_others
import namespaces
import network
import session_door
import sockets
from registry import PROBES, Given, line, run

PARTS = (identity, namespaces, kernel, sockets, network, files, devices, memory_of_others, limits, doors, session_door)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", help="names, with commas between them")
    parser.add_argument("--group", default="")
    parser.add_argument("--given", default="{}", help="a JSON object with the fields of Given")
    parser.add_argument("--list", action="store_true")
    parser.add_argument(
        "--hold", type=float, default=0.0, help="take all a user may have of the kernel, for so many seconds"
    )
    options = parser.parse_args()
    if options.hold:
        limits.hold_everything(options.hold)
        return 0
    names = (
        options.only.split(",")
        if options.only
        else [name for name, each in PROBES.items() if each.group == options.group]
    )
    if options.list:
        for each in PROBES.values():
            print(json.dumps({"probe": each.name, "group": each.group, "expects": sorted(each.expects)}))
        return 0
    given = Given(**json.loads(options.given))
    escaped = 0
    for name in names:
        result = run(PROBES[name], given)
        escaped += not result["contained"]
        print(line(result), flush=True)
    return int(escaped > 0)


if __name__ == "__main__":
    sys.exit(main())
