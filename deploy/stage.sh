#!/usr/bin/env bash
# stage.sh canary|orchestrator FOLDER: makes of an empty folder what is deployed as that function:
# the modules that it loads, its pinned requirements, and a main.py that starts it.
set -euo pipefail

name=$1 folder=$2
repository=$(dirname "${BASH_SOURCE[0]}")/..

if [[ -n $(ls -A "$folder") ]]; then
  echo "stage.sh: $folder is not empty" >&2
  exit 1
fi

# without PATH…: a path that is gone is an error, so that this list stays true.
without() {
  local path
  for path in "$@"; do rm -r "${folder:?}/$path"; done
}

cp -R "$repository/requirements.txt" "$repository/orchestrator_resilience" "$folder"
without orchestrator_resilience/{testing.py,py.typed}
case $name in
  canary)
    cp -R "$repository/canary" "$folder"
    without orchestrator_resilience/{function,orchestrator,probe}.py \
      canary/{__main__.py,commands,playback,py.typed}
    handler=canary package=canary
    ;;
  orchestrator)
    # Only the canary reads back what was written.
    without orchestrator_resilience/stores/{cloud_changes.py,cloud_logging.py,completions.sql,dead_letters.py,error_words.py,messages.sql}
    handler=orchestrate package=orchestrator_resilience
    ;;
  *)
    echo "stage.sh: there is no function $name" >&2
    exit 1
    ;;
esac
find "$folder" -name __pycache__ -prune -exec rm -r {} +
printf 'from %s.function import start\n\n%s = start()\n' "$package" "$handler" >"$folder/main.py"
