#!/usr/bin/env bash
# Refuses, before anything is changed, a message log that nobody would read or write, a deployment of which nobody would
# be told when it breaks, and one that would silently take Slack or the heartbeat away.
set -euo pipefail

phases=${PHASES_FILE:-orchestrator_resilience/phases.toml}
named=$(sed -nE "s|^ *message_table *= *[\"']([^\"']+)[\"'].*|\1|p" "$phases")
if [[ -n $MESSAGE_TABLE ]] && ! grep -qxF "$MESSAGE_TABLE" <<<"$named"; then
  echo "_MESSAGE_TABLE is $MESSAGE_TABLE, and no phase of $phases has it as its message_table: nobody would read it." >&2
  exit 1
fi
if [[ -z $MESSAGE_TABLE && -n $named ]]; then
  echo "_MESSAGE_TABLE is empty, and $phases has the message_table ${named//$'\n'/, }: nobody would write it." >&2
  exit 1
fi

if [[ -z $NOTIFICATION_CHANNELS ]]; then
  echo "_NOTIFICATION_CHANNELS is empty: nobody would learn that the canary is silent." >&2
  echo "Give the names that 'gcloud beta monitoring channels list' prints, or none, if that is meant." >&2
  exit 1
fi

# A list, because describe fails where there is no function yet, and so would hide any other failure.
secrets=$(gcloud functions list --regions="$REGION" --filter="name~/functions/$CANARY\$" \
  --format='value(serviceConfig.secretEnvironmentVariables[].key)')
# keeps VARIABLE SUBSTITUTION VALUE
keeps() {
  if [[ -z $3 && $secrets == *"$1"* ]]; then
    echo "$2 is empty, and $CANARY has the secret $1: give its name, or none, if it is to be taken away." >&2
    return 1
  fi
}
keeps SLACK_WEBHOOK_URL _SLACK_SECRET "$SLACK_SECRET"
keeps HEARTBEAT_URL _HEARTBEAT_SECRET "$HEARTBEAT_SECRET"

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
