#!/usr/bin/env bash
# The log-based metrics; each is named as its file, with the canary's name before it.
source deploy/common.sh

# counted: what a metric counts and says of itself, of its file or of what gcloud prints.
counted() { grep -oE '"(description|filter)": "(\\.|[^"\\])*"' | sort; }

for file in deploy/monitoring/metrics/*.json; do
  name=${CANARY}_$(basename "$file" .json)
  copy=$(render "$file")
  if ! live=$(gcloud logging metrics describe "$name" --format=json 2>/dev/null); then
    gcloud logging metrics create "$name" --config-from-file="$copy" --format=none
  elif [[ $(counted <"$copy") != "$(counted <<<"$live")" ]]; then
    gcloud logging metrics update "$name" --config-from-file="$copy" --format=none
  fi
done
