#!/usr/bin/env bash
# Optional: Pub/Sub itself writes every message of the topic into a table, without any code of this project.
set -euo pipefail

if [[ -z $MESSAGE_TABLE ]]; then
  echo "no _MESSAGE_TABLE: no message log"
  exit
fi
sed -e "s|{table}|$MESSAGE_TABLE|" -e "s|{agent}|$PUBSUB_AGENT|" deploy/message_log.sql |
  bq --project_id="$GOOGLE_CLOUD_PROJECT" ${BIGQUERY_LOCATION:+--location="$BIGQUERY_LOCATION"} \
    query --use_legacy_sql=false

how=("--bigquery-table=$GOOGLE_CLOUD_PROJECT.$MESSAGE_TABLE" --write-metadata)
how+=(--message-retention-duration=7d --expiration-period=never)
if gcloud pubsub subscriptions describe "$MESSAGE_LOG" --format=none 2>/dev/null; then
  gcloud pubsub subscriptions update "$MESSAGE_LOG" "${how[@]}"
else
  sleep 15 # Pub/Sub tries the right to write, which was only just granted
  gcloud pubsub subscriptions create "$MESSAGE_LOG" --topic="$TOPIC" "${how[@]}"
fi
