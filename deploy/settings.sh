# shellcheck shell=bash
# settings.sh PROJECT "_ORCHESTRATOR=…,…": sourced by what the project's owner runs; reads the same
# settings as the builds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export GOOGLE_CLOUD_PROJECT=$1 CLOUDSDK_CORE_PROJECT=$1 CLOUDSDK_CORE_DISABLE_PROMPTS=1
while read -r default; do
  declare "$default"
done < <(sed -nE 's/^  _([A-Z_]+): "?([^"#]*[^"# ])?"? *(#.*)?$/\1=\2/p' cloudbuild.yaml)
if [[ $2 == *$'\n'* ]]; then
  echo "the settings have more than one line; a comma separates them, as for the builds" >&2
  exit 1
fi
IFS=, read -ra given <<<"$2"
for setting in "${given[@]}"; do
  name=${setting%%=*}
  if [[ $name != _* ]] || ! declare -p "${name#_}" >/dev/null 2>&1; then
    echo "cloudbuild.yaml has no substitution $name" >&2
    exit 1
  fi
  declare "${setting#_}"
done
