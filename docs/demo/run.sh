#!/usr/bin/env bash
# What `make demo` shows: Claude Code at work over docs/demo/data in a sandbox, its artefacts, the proof of its isolation and
# the audit trail. Uses the real model where ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN is set, a scripted one elsewhere.
#
# As root the sandbox is made by a container engine, for an ordinary user by bubblewrap. A daemon of the demo's own runs
# while it lasts; its state, with the agent's binary, is kept for the next time in /var/lib/eleagent-demo, or below
# ~/.local/state. What the agent made is copied to ./demo-artefacts.
set -euo pipefail

readonly HERE=$(cd "$(dirname "$0")" && pwd)
readonly OUT=$PWD/demo-artefacts
[ "$(id -u)" = 0 ] && state=/var/lib || state=${XDG_STATE_HOME:-$HOME/.local/state}
export ELEAGENT_HOME=${DEMO_HOME:-$state/eleagent-demo}
readonly TASK="Make a table of the open failures by subsystem from the campaign data in /data: the list as \
/artefacts/failures.csv, a summary with the table as /artefacts/summary.md. Read /data/README.md first; name what a person \
should look at."

readonly bold=$([ -t 1 ] && tput bold 2>/dev/null || true) plain=$([ -t 1 ] && tput sgr0 2>/dev/null || true)
title() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
shown() { printf '\n%s$ %s%s\n' "$bold" "$*" "$plain"; "$@"; }

mkdir -p -m 0711 "$ELEAGENT_HOME"
log=$ELEAGENT_HOME/daemon.log
eleagent daemon run >"$log" 2>&1 &
daemon=$!
trap 'kill $daemon 2>/dev/null; wait $daemon || true' EXIT
until eleagent status >/dev/null 2>&1; do
    kill -0 $daemon 2>/dev/null || { cat "$log" >&2; echo "demo: the daemon did not start" >&2; exit 125; }
    sleep 0.1
done

# What `claude` still needs: its binary, and an image where a container engine makes the sandboxes.
needs=$(eleagent agent ls --json | python3 -c '
import json, sys
(claude,) = [agent for agent in json.load(sys.stdin)["agents"] if agent["name"] == "claude"]
print(claude["needs"] or "")')
case $needs in
    "") ;;
    *image*) shown eleagent image build claude ;;
    *) shown eleagent agent install claude ;;
esac

flags=(--data "$HERE/data" -o "$OUT" --timeout 900)
if [ -n "${ANTHROPIC_API_KEY:-}${CLAUDE_CODE_OAUTH_TOKEN:-}" ]; then
    title "The real model answers: a key is set. It stays outside of the sandbox."
else
    title "No key is set, so a SCRIPTED MODEL plays the model's part (docs/demo/model-script.toml)."
    echo "Everything else is real: the Claude Code CLI, the sandbox, the tools it runs and the files it writes."
    flags+=(--model-script "$HERE/model-script.toml")
fi
rm -rf "$OUT"
shown eleagent run "${flags[@]}" "$TASK"

title "What it made (./demo-artefacts)"
ls -l "$OUT"
echo
cat "$OUT/summary.md"

title "The proof of its isolation: what was asked of the kernel, and what was found there"
shown eleagent session show @

title "The audit trail"
shown eleagent audit ls --session @
