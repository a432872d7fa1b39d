#!/usr/bin/env bash
# Looks, before anything is changed, for all that the steps need, and for what they would overwrite, double or silently
# take away. Names each, with the command that helps.
source deploy/common.sh

missing=0
# lacks WHAT COMMAND
lacks() {
  printf 'MISSING: %s\n  %s\n' "$1" "$2" >&2
  missing=1
}
bootstrap="bash deploy/bootstrap.sh $GOOGLE_CLOUD_PROJECT \"the substitutions of this build\", by the project's owner"

if [[ -z $NOTIFICATION_CHANNELS ]]; then
  lacks "_NOTIFICATION_CHANNELS: nobody would learn that the canary is silent; give names of channels, or none" \
    "gcloud beta monitoring channels list"
fi
if [[ $NOTIFICATION_CHANNELS == none ]]; then
  echo "WARNING: _NOTIFICATION_CHANNELS=none: the alert policies will open incidents and tell nobody" >&2
  NOTIFICATION_CHANNELS=
fi
for channel in ${NOTIFICATION_CHANNELS//,/ }; do
  [[ $(gcloud beta monitoring channels describe "$channel" --format='value(enabled)') == True ]] ||
    lacks "the notification channel $channel, or it is off" "gcloud beta monitoring channels list"
done

if [[ -z $TABLE ]]; then
  lacks "the bigquery_table of $PHASE in $PHASES" "_PHASE and _PHASES_FILE say which"
fi
enabled=$(gcloud services list --format='value(config.name)')
for service in $SERVICES; do
  grep -qxF "$service.googleapis.com" <<<"$enabled" ||
    lacks "the service $service" "gcloud services enable $service.googleapis.com"
done
for account in $(accounts); do
  gcloud iam service-accounts describe "$account" --format=none || lacks "the account $account" "$bootstrap"
done
bound=$(gcloud projects get-iam-policy "$GOOGLE_CLOUD_PROJECT" --flatten='bindings[].members' \
  --format='csv[no-heading](bindings.members,bindings.role)')
for pair in $(project_roles); do
  grep -qxF "serviceAccount:${pair%%=*},roles/${pair#*=}" <<<"$bound" ||
    lacks "the role ${pair#*=} of ${pair%%=*}" "$bootstrap"
done
mode=$(gcloud firestore databases describe --database="$FIRESTORE_DATABASE" --format='value(type)') || mode="not there"
how="--location=$FIRESTORE_LOCATION --type=firestore-native"
if [[ $mode != FIRESTORE_NATIVE ]]; then
  lacks "a Firestore database $FIRESTORE_DATABASE in native mode: it is $mode; _FIRESTORE_DATABASE may name another" \
    "gcloud firestore databases create --database='$FIRESTORE_DATABASE' $how"
fi
for dataset in $READ_DATASETS; do
  if ! found=$(big --format=json show "${dataset/./:}"); then
    lacks "the dataset $dataset" "$bootstrap"
    continue
  fi
  [[ -z $BIGQUERY_LOCATION || $found == *"\"location\":\"$BIGQUERY_LOCATION\""* ]] ||
    lacks "the dataset $dataset in $BIGQUERY_LOCATION: it is elsewhere" "_BIGQUERY_LOCATION says where"
done
beside || big show "$(table_of "$TABLE")" >/dev/null || lacks "the table $TABLE" "$bootstrap"
if [[ -n $MESSAGE_TABLE ]]; then
  big show "$(table_of "$MESSAGE_TABLE")" >/dev/null || lacks "the table $MESSAGE_TABLE" "$bootstrap"
fi

for secret in $SLACK_SECRET $HEARTBEAT_SECRET; do
  [[ $secret == none ]] || gcloud secrets describe "$secret" --format=none ||
    lacks "the secret $secret" "gcloud secrets create $secret --data-file=-"
done
if [[ -n $PHASES_FILE ]]; then
  held=$(gcloud secrets describe "$PHASES_SECRET" --format='value(labels.content)') || held=
  [[ $held == "$PHASES_CONTENT" ]] || lacks "$PHASES_FILE, as it is here, in the secret $PHASES_SECRET" "$bootstrap"
fi

# A list, because describe fails as well where a function may not be seen.
for name in "$CANARY" "$ORCHESTRATOR"; do
  [[ $name == none ]] && continue
  found=$(gcloud run services list --region="$REGION" --filter="metadata.name=$name" \
    --format='value(metadata.labels.managed_by.yesno(no=nobody))')
  [[ -z $found || $found == "${OURS#*=}" ]] ||
    lacks "a free name: the function $name is there, and this project has not made it" \
      "give _ORCHESTRATOR or _CANARY another name; _ORCHESTRATOR=none deploys the canary beside it"
done
variables=$(gcloud run services list --region="$REGION" --filter="metadata.name=$CANARY" \
  --format='value(spec.template.spec.containers[0].env[].name)')
# keeps VARIABLE SUBSTITUTION VALUE WHAT
keeps() {
  [[ -n $3 || $variables != *"$1"* ]] ||
    lacks "$2: $CANARY has $1, and would lose it" "give its $4, or none, if it is to be taken away"
}
keeps SLACK_WEBHOOK_URL _SLACK_SECRET "$SLACK_SECRET" "secret's name"
keeps HEARTBEAT_URL _HEARTBEAT_SECRET "$HEARTBEAT_SECRET" "secret's name"
keeps PAGE_URL _PAGE_URL "$PAGE_URL" value
keeps RUNBOOK_URL _RUNBOOK_URL "$RUNBOOK_URL" value

# Two orchestrators on one topic register each other's completions, and the fault of the one is hidden.
if ! beside; then
  for other in $(gcloud pubsub subscriptions list --filter="topic=$TOPIC_PATH AND pushConfig.pushEndpoint:*" \
    --format='value(name.basename())'); do
    [[ " $PUSH ${OTHER_SUBSCRIPTIONS//,/ } " == *" $other "* ]] ||
      lacks "a word about $other, which pushes from $TOPIC too: is that another orchestrator?" \
        "_ORCHESTRATOR=none, if it is; else _OTHER_SUBSCRIPTIONS=$other"
  done
fi
exit "$missing"
