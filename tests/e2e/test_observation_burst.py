"""Are a thousand short programs and ten thousand file changes within a minute all recorded?"""

from __future__ import annotations

import hashlib

import pytest

from .test_observation import data, run

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

PROGRAMS, FILES = 1_000, 10_000
BURST = f"""
import os, subprocess, time
began = time.monotonic()
for number in range({FILES}):
    folder = f"/workspace/{{number % 100}}"
    if number < 100:
        os.mkdir(folder)
    with open(f"{{folder}}/{{number}}", "w") as file:
        file.write(str(number))
for number in range({PROGRAMS}):
    subprocess.run(["true", str(number)])
for number in range(0, {FILES}, 10):
    os.unlink(f"/workspace/{{number % 100}}/{{number}}")
for number in range(1, {FILES}, 10):
    os.rename(f"/workspace/{{number % 100}}/{{number}}", f"/workspace/moved-{{number}}")
print(time.monotonic() - began)
"""


def test_burst_of_programs_and_files_is_recorded(daemon):
    events, last = run(daemon, "--", "python3", "-c", BURST, timeout=200)
    assert last["exit_code"] == 0, data(events, "output.text")
    took = float("".join(one["text"] for one in data(events, "output.text")))
    assert took < 60
    seen = [one["argv"][1] for one in data(events, "program.executed") if one["argv"][0] == "true"]
    missed = set(map(str, range(PROGRAMS))) - set(seen)
    assert len(missed) <= PROGRAMS // 1000, missed
    assert len(seen) == len(set(seen)), "none is told twice"
    assert data(events, "observation.gap") == []
    changes = [one for look in data(events, "files.changed") for one in look["changes"]]
    files = {one["path"]: one for one in changes if not one["path"].startswith("/home/agent/")}
    left = {
        f"/workspace/moved-{number}" if number % 10 == 1 else f"/workspace/{number % 100}/{number}": str(number)
        for number in range(FILES)
        if number % 10
    }
    assert files.keys() == left.keys()
    for path, text in left.items():
        assert (files[path]["change"], files[path]["size_bytes"]) == ("created", len(text))
        assert files[path]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
    assert len(changes) == len({one["path"] for one in changes})
