#!/usr/bin/env bash
# Optional: Pub/Sub itself writes every message of the topic into a table, without any code of this project.
set -euo pipefail

if [[ -z $WITNESS_TABLE ]]; then
  echo "no _WITNESS_TABLE: no witness"
  exit
fi
sed -e "s|{table}|$WITNESS_TABLE|" -e "s|{agent}|$PUBSUB_AGENT|" deploy/witness.sql |
  bq --project_id="$GOOGLE_CLOUD_PROJECT" ${BIGQUERY_LOCATION:+--location="$BIGQUERY_LOCATION"} \
    query --use_legacy_sql=false

how=("--bigquery-table=$GOOGLE_CLOUD_PROJECT.$WITNESS_TABLE" --write-metadata)
how+=(--message-retention-duration=7d --expiration-period=never)
if gcloud pubsub subscriptions describe "$WITNESS" --format=none 2>/dev/null; then
  gcloud pubsub subscriptions update "$WITNESS" "${how[@]}"
else
  sleep 15 # Pub/Sub tries the right to write, which was only just granted
  gcloud pubsub subscriptions create "$WITNESS" --topic="$TOPIC" "${how[@]}"
fi
