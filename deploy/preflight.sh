#!/usr/bin/env bash
# Refuses, before anything is changed, a witness that nobody would read, and a deployment of which nobody would be told
# when it breaks.
set -euo pipefail

phases=${PHASES_FILE:-orchestrator_resilience/phases.toml}
if [[ -n $WITNESS_TABLE ]] && ! grep -q "^witness_table = \"$WITNESS_TABLE\"" "$phases"; then
  echo "_WITNESS_TABLE is $WITNESS_TABLE, and no phase of $phases has it as its witness_table: nobody would read it." >&2
  exit 1
fi
if [[ -z $NOTIFICATION_CHANNELS ]]; then
  echo "_NOTIFICATION_CHANNELS is empty: nobody would learn that the canary is silent." >&2
  echo "Give the names that 'gcloud beta monitoring channels list' prints, or none, if that is meant." >&2
  exit 1
fi
if [[ $NOTIFICATION_CHANNELS == none ]]; then
  echo "WARNING: _NOTIFICATION_CHANNELS=none: the alert policies will open incidents and tell nobody" >&2
  exit
fi
for channel in ${NOTIFICATION_CHANNELS//,/ }; do
  enabled=$(gcloud beta monitoring channels describe "$channel" --format='value(enabled)')
  if [[ $enabled != True ]]; then
    echo "the notification channel $channel is not enabled" >&2
    exit 1
  fi
done
