#!/usr/bin/env bash
# Looks, before anything is changed, for all that the steps need, and for what they would overwrite,
# double or silently take away. Names each, with the command that helps.
source deploy/common.sh

bootstrap="bash deploy/bootstrap.sh $GOOGLE_CLOUD_PROJECT \"the substitutions of this build\", by the project's owner"

# Of a name other names are made, and Google limits their lengths: an account's to 30 characters, a
# service's to 49.
for name in "$CANARY" "$ORCHESTRATOR" "$PAGE"; do
  ! has "$name" || [[ $name =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] ||
    lacks "a name instead of '$name': 6 to 30 small letters, digits and hyphens" \
      "_CANARY, _ORCHESTRATOR and _PAGE say the names"
done
for pair in "$CANARY $ORCHESTRATOR" "$CANARY $PAGE" "$ORCHESTRATOR $PAGE" \
  "$CANARY resilience-deployer" \
  "$ORCHESTRATOR resilience-deployer" "$PAGE resilience-deployer"; do
  [[ ${pair% *} != "${pair#* }" || $pair == "none none" ]] ||
    lacks "two names: ${pair% *} is the name of two things" \
      "_CANARY, _ORCHESTRATOR and _PAGE say the names"
done
((${#CANARY} <= 20)) || lacks \
  "a shorter name than $CANARY: its scheduler's account is $CANARY-scheduler" \
  "_CANARY has 20 at the most"
[[ $CONCURRENCY =~ ^[1-9][0-9]{0,2}$ && $MAX_INSTANCES =~ ^[1-9][0-9]{0,2}$ ]] ||
  lacks "numbers: _CONCURRENCY is '$CONCURRENCY', _MAX_INSTANCES is '$MAX_INSTANCES'" \
    "8 and 20 are the defaults"

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
if beside && [[ -z $WATCHED_SERVICE ]]; then
  lacks "_WATCHED_SERVICE: without it nothing is known of requests that were refused, of crashes and of deployments" \
    "the orchestrator's Cloud Run service, or none: gcloud run services list"
fi

# What bootstrap.sh has granted a minute ago may not be in force yet, and without it nothing here
# can be looked at.
services=(gcloud services list --format='value(config.name)')
if ! enabled=$("${services[@]}"); then
  echo "waiting until the deployer's roles are in force, for seven minutes at the most" >&2
  enabled=$(patiently 7 "${services[@]}")
fi
for service in $SERVICES; do
  grep -qxF "$service.googleapis.com" <<<"$enabled" ||
    lacks "the service $service" "gcloud services enable $service.googleapis.com"
done
# theirs WHAT MARK COMMAND…: names what is there and does not carry the mark, a pattern, so that
# nothing of anybody else's is changed.
theirs() {
  local found
  # shellcheck disable=SC2053 # a pattern
  ! found=$("${@:3}" 2>/dev/null) || [[ $found == $2 ]] ||
    lacks "a free name: $1 is there, and this canary's deployment has not made it" \
      "_CANARY, _ORCHESTRATOR, _PAGE and _TOPIC say the names"
}
for account in $(accounts); do
  gcloud iam service-accounts describe "$account" --format=none ||
     lacks "the account $account" "$bootstrap"
  mark=$MARK
  if [[ $account == "$DEPLOYER" ]]; then mark=$OURS; fi
  theirs "the account $account" "$mark" gcloud iam service-accounts describe "$account" \
    --format='value(description)'
done
bound=$(patiently 7 bindings)
for granted in $(project_roles); do
  IFS='=' read -r account role database <<<"$granted"
  grep -qxF "serviceAccount:$account,roles/$role,$database" <<<"$bound" ||
    lacks "the role $role of $account${database:+ on the database $database}" "$bootstrap"
done
for database in "$FIRESTORE_DATABASE" $MEMORY_DATABASE; do
  has "$database" || continue
  mode=$(gcloud firestore databases describe --database="$database" --format='value(type)') ||
     mode="not there"
  how="--location=$FIRESTORE_LOCATION --type=firestore-native"
  if [[ $mode != FIRESTORE_NATIVE ]]; then
    lacks "a Firestore database $database in native mode: it is $mode; _FIRESTORE_DATABASE may name another" \
      "gcloud firestore databases create --database='$database' $how"
  fi
done
for dataset in $READ_DATASETS; do
  if ! found=$(big --format=json show "${dataset/./:}"); then
    lacks "the dataset $dataset" "$bootstrap"
    continue
  fi
  [[ -z $BIGQUERY_LOCATION || $found == *"\"location\":\"$BIGQUERY_LOCATION\""* ]] ||
    lacks "the dataset $dataset in $BIGQUERY_LOCATION: it is elsewhere" \
      "_BIGQUERY_LOCATION says where"
done
beside || big show "$(table_of "$TABLE")" >/dev/null || lacks "the table $TABLE" "$bootstrap"
if [[ -n $MESSAGE_TABLE ]]; then
  big show "$(table_of "$MESSAGE_TABLE")" >/dev/null ||
     lacks "the table $MESSAGE_TABLE" "$bootstrap"
fi

for secret in $SLACK_SECRET $HEARTBEAT_SECRET; do
  ! has "$secret" || gcloud secrets describe "$secret" --format=none ||
    lacks "the secret $secret" "gcloud secrets create $secret --data-file=-"
done
if has "$PHASES_FILE"; then
  theirs "the secret $PHASES_SECRET" "$CANARY" gcloud secrets describe "$PHASES_SECRET" \
    --format='value(labels.canary)'
  held=$(gcloud secrets describe "$PHASES_SECRET" --format='value(labels.content)') || held=
  [[ $held == "$PHASES_CONTENT" ]] || lacks \
    "$PHASES_FILE, as it is here, in the secret $PHASES_SECRET" "$bootstrap"
fi

# A list, because describe fails as well where a function may not be seen.
for name in "$CANARY" "$ORCHESTRATOR" "$PAGE"; do
  has "$name" || continue
  found=$(gcloud run services list --region="$REGION" --filter="metadata.name~^$name$" \
    --format='value(metadata.labels.canary.yesno(no=nobody))')
  [[ -z $found || $found == "$CANARY" ]] ||
    lacks "a free name: the function $name is there, and this canary's deployment has not made it" \
      "give _ORCHESTRATOR, _CANARY or _PAGE another name; _ORCHESTRATOR=none deploys the canary beside it"
done
for name in "$CANARY" "$CANARY-notify-test"; do
  theirs "the job $name" "$MARK" gcloud scheduler jobs describe "$name" --location="$REGION" \
    --format='value(description)'
done
for file in deploy/monitoring/metrics/*.json; do
  name=${CANARY}_$(basename "$file" .json)
  theirs "the metric $name" "*$MARK;*" gcloud logging metrics describe "$name" \
    --format='value(description)'
done
if ! beside; then
  theirs "the topic $DEAD_LETTERS" "$CANARY" gcloud pubsub topics describe "$DEAD_LETTERS" \
    --format='value(labels.canary)'
fi
for name in $(beside || echo "$PUSH" "$DEAD_LETTERS") ${MESSAGE_TABLE:+"$MESSAGE_LOG"}; do
  theirs "the subscription $name" "$CANARY" gcloud pubsub subscriptions describe "$name" \
    --format='value(labels.canary)'
done
if beside && has "$WATCHED_SERVICE"; then
  [[ -n $(gcloud run services list --filter="metadata.name~^$WATCHED_SERVICE$" --format='value(metadata.name)') ]] ||
    lacks "the Cloud Run service $WATCHED_SERVICE" \
      "_WATCHED_SERVICE=none does without; gcloud run services list shows which there are"
fi

# What this project has made anywhere, and this deployment would leave running beside its own.
made=$(gcloud run services list --filter="metadata.labels.managed_by~^$OURS$" \
  --format="csv[no-heading](metadata.name,metadata.labels['cloud.googleapis.com/location'])")
while IFS=, read -r name where; do
  if [[ -z $name || " ${OTHER_SERVICES//,/ } " == *" $name "* ]]; then continue; fi
  [[ $where == "$REGION" && " $CANARY $ORCHESTRATOR $PAGE " == *" $name "* ]] ||
    lacks "a word about $name in $where, which an earlier deployment has made: it would run on beside this one" \
      "the settings of then; _OTHER_SERVICES=$name if it shall; or gcloud run services delete $name --region=$where"
done <<<"$made"

all_kept
if ! beside && [[ -z $GIVEN_INSTANCES ]]; then
  most=$(gcloud run services list --region="$REGION" --filter="metadata.name~^$ORCHESTRATOR$" \
    --format="value(spec.template.metadata.annotations['autoscaling.knative.dev/maxScale'])")
  [[ ${most:-20} == 20 ]] ||
    lacks "_MAX_INSTANCES: $ORCHESTRATOR may have $most, and would have 20" \
      "_MAX_INSTANCES=$most, or _MAX_INSTANCES=20"
fi
if [[ -z $GIVEN_TOPIC ]] && { ! beside || [[ -n $MESSAGE_TABLE ]]; }; then
  topics=$(gcloud pubsub subscriptions list --filter="labels.canary~^$CANARY$" \
    --format='value(topic.basename())')
  for other in $topics; do
    [[ " $TOPIC $DEAD_LETTERS " == *" $other "* || $other == *-dead-letters ]] ||
      lacks "_TOPIC: what is deployed listens to $other" \
        "_TOPIC=$other, or _TOPIC=$TOPIC if it shall be this one now"
  done
fi

# Two orchestrators on one topic register each other's completions, and the fault of the one is
# hidden.
if ! beside; then
  pushing=$(gcloud pubsub subscriptions list \
    --filter="topic=$TOPIC_PATH AND pushConfig.pushEndpoint:*" \
    --format='value(name.basename())')
  for other in $pushing; do
    [[ " $PUSH ${OTHER_SUBSCRIPTIONS//,/ } " == *" $other "* ]] ||
      lacks "a word about $other, which pushes from $TOPIC too: is that another orchestrator?" \
        "_ORCHESTRATOR=none, if it is; else _OTHER_SUBSCRIPTIONS=$other"
  done
fi
exit "$missing"
