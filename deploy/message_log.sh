#!/usr/bin/env bash
# Optional: Pub/Sub itself writes every message of the topic into a table, without any code of this project.
source deploy/common.sh

if [[ -z $MESSAGE_TABLE ]]; then
  echo "$PHASES names no message_table: no message log"
  exit
fi
subscription "$MESSAGE_LOG" "$TOPIC" --bigquery-table="$GOOGLE_CLOUD_PROJECT.$MESSAGE_TABLE" --write-metadata \
  --message-retention-duration=7d --expiration-period=never
