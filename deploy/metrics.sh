#!/usr/bin/env bash
# The log-based metrics; each is named as its file.
set -euo pipefail

for file in deploy/monitoring/metrics/*.json; do
  name=$(basename "$file" .json)
  verb=create
  gcloud logging metrics describe "$name" --format=none 2>/dev/null && verb=update
  gcloud logging metrics "$verb" "$name" --config-from-file="$file" --format=none
done
