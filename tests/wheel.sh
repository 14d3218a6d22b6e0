#!/usr/bin/env bash
# Does the built wheel pass the suite without the source tree? tests/wheel.sh FOLDER
#
# Builds the wheel, installs it alone into a second environment in FOLDER, and runs a copy of the tests from a folder that has
# no source above it. The tests that make sandboxes ran against the checkout; these here are all the others.
set -euo pipefail

readonly REPO=$(cd "$(dirname "$0")/.." && pwd)
readonly WORK=$(mkdir -p "$1" && cd "$1" && pwd)
readonly BIN=$REPO/.venv/bin

rm -rf "$WORK/dist"
"$BIN/python" -m build --wheel --outdir "$WORK/dist" "$REPO" >"$WORK/build.log" 2>&1 || { tail -n 20 "$WORK/build.log" >&2; exit 1; }
wheel=$(ls "$WORK"/dist/*.whl)

# The environment is kept between runs while the dependencies are the same.
if ! cmp -s "$REPO/pyproject.toml" "$WORK/venv/pyproject.toml"; then
    rm -rf "$WORK/venv"
    "$BIN/python" -m venv "$WORK/venv"
    "$WORK/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel[dev]"
    cp "$REPO/pyproject.toml" "$WORK/venv/"
fi
"$WORK/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$wheel"

copy=$(mktemp -d "${TMPDIR:-/tmp}/eleagent-wheel.XXXXXX")
trap 'rm -rf "$copy"' EXIT
cp -r "$REPO/tests" "$REPO/pyproject.toml" "$copy"
find "$copy" -name __pycache__ -prune -exec rm -rf {} +
cd "$copy"
unset PYTHONPATH
"$WORK/venv/bin/python" -P - "$WORK/venv" <<'END'
import sys, eleagent, eleagent_daemon, eleagent_tui
for package in (eleagent, eleagent_daemon, eleagent_tui):
    assert package.__file__.startswith(sys.argv[1]), f"{package.__name__} comes from {package.__file__}, not from the wheel"
END
echo "wheel: $(basename "$wheel")"
"$WORK/venv/bin/python" -P -m pytest -q -m "not engine and not bubblewrap and not checkout"
