#!/usr/bin/env bash
# The log-based metrics; each is named as its file.
source deploy/common.sh

for file in deploy/monitoring/metrics/*.json; do
  name=$(basename "$file" .json)
  copy=$(render "$file")
  if ! found=$(gcloud logging metrics describe "$name" --format='value(description)' 2>/dev/null); then
    gcloud logging metrics create "$name" --config-from-file="$copy" --format=none
  elif ! grep -qF "\"$found\"" "$copy"; then
    gcloud logging metrics update "$name" --config-from-file="$copy" --format=none
  fi
done
