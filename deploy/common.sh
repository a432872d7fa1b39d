# shellcheck shell=bash
# Sourced by every script: the names, each made of the substitutions in this one place, and what
# several scripts do.
set -euo pipefail

if [[ -z $ORCHESTRATOR ]]; then
  echo "_ORCHESTRATOR is empty. Give the name of the orchestrator that is to be made," >&2
  echo "or none, where the canary shall watch one that is there already." >&2
  exit 1
fi
# beside: whether the canary is deployed alone, beside an orchestrator that is not this project's.
beside() { [[ $ORCHESTRATOR == none ]]; }

# As they were given: one that is forgotten, where something else is live, is refused by preflight.
GIVEN_TOPIC=$TOPIC GIVEN_PHASE=$PHASE GIVEN_DATABASE=$FIRESTORE_DATABASE
GIVEN_CONCURRENCY=$CONCURRENCY GIVEN_INSTANCES=$MAX_INSTANCES GIVEN_LOCATION=$BIGQUERY_LOCATION
if [[ $BIGQUERY_LOCATION == none ]]; then BIGQUERY_LOCATION=; fi
CONCURRENCY=${CONCURRENCY:-8}
MAX_INSTANCES=${MAX_INSTANCES:-20}
TOPIC=${TOPIC:-nba-phase2-raw-complete}
PHASE=${PHASE:-phase2}
FIRESTORE_DATABASE=${FIRESTORE_DATABASE:-(default)}

# has VALUE: whether a setting names something; none takes away what is live.
has() { [[ -n $1 && $1 != none ]]; }

DEPLOYER=resilience-deployer@$GOOGLE_CLOUD_PROJECT.iam.gserviceaccount.com
ORCHESTRATOR_ACCOUNT=$ORCHESTRATOR@$GOOGLE_CLOUD_PROJECT.iam.gserviceaccount.com
CANARY_ACCOUNT=$CANARY@$GOOGLE_CLOUD_PROJECT.iam.gserviceaccount.com
PAGE_ACCOUNT=$PAGE@$GOOGLE_CLOUD_PROJECT.iam.gserviceaccount.com
SCHEDULER_ACCOUNT=$CANARY-scheduler@$GOOGLE_CLOUD_PROJECT.iam.gserviceaccount.com
PUBSUB_AGENT=service-$PROJECT_NUMBER@gcp-sa-pubsub.iam.gserviceaccount.com
TOPIC_PATH=projects/$GOOGLE_CLOUD_PROJECT/topics/$TOPIC
PUSH=$TOPIC-to-$ORCHESTRATOR
DEAD_LETTERS=$TOPIC-dead-letters
MESSAGE_LOG=$TOPIC-messages-$CANARY
PHASES_SECRET=$CANARY-phases
# By these labels, or by these words where there can be no label, later deployments and remove.sh
# know what is theirs.
OURS=orchestrator-resilience
LABELS=managed_by=$OURS,canary=$CANARY
SOURCES=gs://$GOOGLE_CLOUD_PROJECT-resilience-sources # where what is to be built is uploaded
MARK="$OURS, of $CANARY"

# The service whose requests, errors and checkpoints are looked at.
WATCHED=$ORCHESTRATOR
if beside; then WATCHED=$WATCHED_SERVICE; fi

# What a run of the canary may take, for the function and the scheduler alike: canary/run.py has 95
# s, and 25 are to start.
RUN_SECONDS=120

# What the phases file says of tables: of each phase, or within the lines that a range of sed's
# chooses.
PHASES=orchestrator_resilience/phases.toml
if has "$PHASES_FILE"; then PHASES=$PHASES_FILE; fi
if [[ ! -r $PHASES ]]; then
  echo "_PHASES_FILE: there is no file $PHASES in this checkout" >&2
  exit 1
fi
tables() { sed -nE "${2:-}s/^ *$1 *= *[\"']([^\"']+)[\"'].*/\1/p" "$PHASES"; }
TABLE=$(tables bigquery_table "/^\[$PHASE\]/,/^\[/")
MESSAGE_TABLE=$(tables message_table "/^\[$PHASE\]/,/^\[/")
# All that the canary reads.
READ_DATASETS=$(
  { tables '[a-z]+_table' | sed 's/\.[^.]*$//' && printf '%s\n' ${DATASETS//,/ }; } | sort -u
)
PHASES_CONTENT=$(cksum <"$PHASES" | tr ' ' -)

SERVICES="artifactregistry bigquery cloudbuild cloudresourcemanager cloudscheduler firestore iam logging monitoring
  pubsub run secretmanager serviceusage"

# accounts: prints those that run, and the one that deploys.
accounts() {
  echo "$CANARY_ACCOUNT" "$SCHEDULER_ACCOUNT" "$DEPLOYER"
  if has "$PAGE"; then echo "$PAGE_ACCOUNT"; fi
  beside || echo "$ORCHESTRATOR_ACCOUNT"
}

# readers: prints the accounts that read the stores.
readers() {
  echo "$CANARY_ACCOUNT"
  if has "$PAGE"; then echo "$PAGE_ACCOUNT"; fi
}

# project_roles: prints, as ACCOUNT=ROLE, all that is granted on the project; as
# ACCOUNT=ROLE=DATABASE, what is granted on one of its Firestore databases.
project_roles() {
  local account
  for account in $(readers); do
    printf "$account=%s\n" bigquery.jobUser logging.viewer
  done
  if has "$PAGE"; then echo "$PAGE_ACCOUNT=datastore.viewer"; fi
  if has "$MEMORY_DATABASE"; then
    printf "$CANARY_ACCOUNT=%s\n" datastore.viewer "datastore.user=$MEMORY_DATABASE"
  else
    echo "$CANARY_ACCOUNT=datastore.user"
  fi
  beside || printf '%s\n' "$ORCHESTRATOR_ACCOUNT=datastore.user" \
    "$PUBSUB_AGENT=pubsub.serviceAgent" \
    "$DEPLOYER=pubsub.admin"
  if beside && [[ -n $MESSAGE_TABLE ]]; then echo "$DEPLOYER=pubsub.editor"; fi
  printf "$DEPLOYER=%s\n" browser cloudscheduler.admin datastore.viewer logging.configWriter \
    logging.viewer monitoring.alertPolicyEditor monitoring.dashboardEditor \
    monitoring.notificationChannelViewer \
    run.admin run.builder run.sourceDeveloper serviceusage.serviceUsageConsumer
}

# on_database NAME: prints the condition under which a role holds for that Firestore database alone;
# None without a name.
on_database() {
  local path=projects/$GOOGLE_CLOUD_PROJECT/databases/$1
  echo "${1:+expression=resource.name==\"$path\",title=}${1:-None}"
}

# patiently MINUTES COMMAND…: what IAM or Monitoring has just been given is not known everywhere at
# once.
patiently() {
  local try
  for ((try = 6 * $1; try > 0; try--)); do
    "${@:2}" && return
    sleep 10
  done
  "${@:2}"
}

# table_of NAME: a table, as bq writes it; it takes dataset.table, and project:dataset.table.
table_of() { if [[ $1 == *.*.* ]]; then echo "${1/./:}"; else echo "$1"; fi; }
# big COMMAND…: bq, on this project and where its datasets are.
big() {
  bq --project_id="$GOOGLE_CLOUD_PROJECT" \
    ${BIGQUERY_LOCATION:+--location="$BIGQUERY_LOCATION"} "$@"
}

# deploy_function canary|orchestrator NAME HANDLER VARIABLES SECRETS FLAG…: stages that function,
# and deploys it.
deploy_function() {
  local staged variables=GOOGLE_CLOUD_PROJECT=$GOOGLE_CLOUD_PROJECT,THREADS=$CONCURRENCY$4 \
    secrets=$5
  staged=$(mktemp -d)
  bash deploy/stage.sh "$1" "$staged"
  if has "$PHASES_FILE"; then
    # The version that is this file, and not the latest: so new code and a new file begin together,
    # and a revision that is gone back to has its own.
    variables+=,PHASES_FILE=/phases/phases.toml
    secrets+=,/phases/phases.toml=$PHASES_SECRET:$(phases_version)
  fi
  variables+=${GIVEN_DATABASE:+,FIRESTORE_DATABASE=$FIRESTORE_DATABASE}
  variables+=${BIGQUERY_LOCATION:+,BIGQUERY_LOCATION=$BIGQUERY_LOCATION}
  secrets=${secrets:+--set-secrets=${secrets#,}}
  gcloud run deploy "$2" --region="$REGION" --source="$staged" --function="$3" \
    --base-image=python313 \
    --build-service-account="projects/$GOOGLE_CLOUD_PROJECT/serviceAccounts/$DEPLOYER" \
    --no-allow-unauthenticated \
    --labels="$LABELS" --set-env-vars="$variables" "${secrets:---clear-secrets}" \
    --cpu=1 --memory=512Mi --concurrency="$CONCURRENCY" "${@:6}"
  rm -rf "$staged"
  # What update-traffic has pinned to an earlier revision stays there otherwise.
  gcloud run services update-traffic "$2" --region="$REGION" --to-latest
}

# reader_variables: prints the variables that the canary and its page have alike.
reader_variables() {
  local variables=${GIVEN_PHASE:+,PHASE=$PHASE}
  # What the platform itself writes down of the orchestrator: who was turned away.
  if has "$WATCHED"; then variables+=,ORCHESTRATOR_SERVICE=$WATCHED; fi
  if has "$MEMORY_DATABASE"; then variables+=,MEMORY_DATABASE=$MEMORY_DATABASE; fi
  if has "$RUNBOOK_URL"; then variables+=,RUNBOOK_URL=$RUNBOOK_URL; fi
  echo "$variables"
}

# phases_version: prints which version of the secret is the phases file of this deployment, as
# bootstrap.sh has noted.
phases_version() { gcloud secrets describe "$PHASES_SECRET" --format='value(labels.version)'; }

# may_invoke ACCOUNT SERVICE
may_invoke() {
  patiently 2 gcloud run services add-iam-policy-binding "$2" --region="$REGION" \
    --member="serviceAccount:$1" \
    --role=roles/run.invoker --format=none
}

missing=0
# lacks WHAT COMMAND
lacks() {
  printf 'MISSING: %s\n  %s\n' "$1" "$2" >&2
  missing=1
}

# variables_of SERVICE: prints what a function of this region has in its variables, as NAME,VALUE;
# of a secret no value.
variables_of() {
  gcloud run services list --region="$REGION" --filter="metadata.name~^$1$" \
    --flatten='spec.template.spec.containers[0].env[]' \
    --format='csv[no-heading](spec.template.spec.containers[0].env.name,spec.template.spec.containers[0].env.value)'
}

# keeps VARIABLE SUBSTITUTION GIVEN [DEFAULT]: what is live has to be said again, or taken away with
# a word: with none, or with the default where there always is one.
keeps() {
  local found
  if [[ -z $3 ]] && found=$(grep "^$1," <<<"$live") &&
     [[ ${found#*,} != "${4:-not the default}" ]]; then
    lacks "$2: what is deployed has $(tr , ' ' <<<"${found%,}"), and would lose it" \
      "give it again, or ${4:-none}, if it is to be taken away"
  fi
}

# all_kept: names each setting that is live and was not given.
all_kept() {
  live=$(variables_of "$CANARY")
  if [[ -z $live ]] && ! beside; then # a deployment was ended half-way
    live=$(variables_of "$ORCHESTRATOR")
  fi
  keeps SLACK_WEBHOOK_URL _SLACK_SECRET "$SLACK_SECRET"
  keeps HEARTBEAT_URL _HEARTBEAT_SECRET "$HEARTBEAT_SECRET"
  keeps PAGE_URL _PAGE_URL "$PAGE_URL$PAGE"
  keeps RUNBOOK_URL _RUNBOOK_URL "$RUNBOOK_URL"
  keeps PHASES_FILE _PHASES_FILE "$PHASES_FILE"
  keeps PHASE _PHASE "$GIVEN_PHASE" phase2
  keeps FIRESTORE_DATABASE _FIRESTORE_DATABASE "$GIVEN_DATABASE" "(default)"
  keeps MEMORY_DATABASE _MEMORY_DATABASE "$MEMORY_DATABASE"
  keeps BIGQUERY_LOCATION _BIGQUERY_LOCATION "$GIVEN_LOCATION"
  keeps THREADS _CONCURRENCY "$GIVEN_CONCURRENCY" 8
  if beside; then
    keeps ORCHESTRATOR_SERVICE _WATCHED_SERVICE "$WATCHED_SERVICE"
    keeps DEAD_LETTERS _WATCHED_DEAD_LETTERS "$WATCHED_DEAD_LETTERS"
  fi
}

# bindings: prints who has which role on the project, on which database alone: MEMBER,ROLE,DATABASE.
bindings() {
  gcloud projects get-iam-policy "$GOOGLE_CLOUD_PROJECT" --flatten='bindings[].members' \
    --format='csv[no-heading](bindings.members,bindings.role,bindings.condition.title)'
}

# of_service NAME FIELD
of_service() { gcloud run services describe "$1" --region="$REGION" --format="value($2)"; }

# is_as WANTED COMMAND…: whether what the command describes has these values now; WANTED is
# FIELD=VALUE, a line each.
is_as() {
  local fields values
  fields=$(cut -d= -f1 <<<"$1" | paste -sd,)
  values=$(cut -d= -f2- <<<"$1" | paste -s)
  [[ $("${@:2}" --format="value($fields)") == "$values" ]]
}

# subscription NAME TOPIC WANTED FLAG…: made where there is none; changed where it is not as WANTED,
# whatever has changed it.
subscription() {
  local describe=(gcloud pubsub subscriptions describe "$1")
  if ! "${describe[@]}" --format=none 2>/dev/null; then
    patiently 2 gcloud pubsub subscriptions create "$1" --topic="$2" --labels="$LABELS" "${@:4}"
  elif ! is_as "$3" "${describe[@]}"; then
    patiently 2 gcloud pubsub subscriptions update "$1" "${@:4}"
  fi
}

rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT

# render FILE: prints the path of a copy that has this deployment's names in place of the
# {placeholders}; {content} becomes a checksum of the rest.
render() {
  local copy=$rendered/${1##*/} channels=
  for channel in ${NOTIFICATION_CHANNELS//,/ }; do
    [[ $channel == none ]] || channels+="${channels:+, }\"$channel\""
  done
  sed -e "s|{orchestrator}|$WATCHED|g" -e "s|{canary}|$CANARY|g" -e "s|{mark}|$MARK|g" \
    -e "s|{region}|$REGION|g" \
    -e "s|{dead_letters}|$DEAD_LETTERS|g" -e "s|{message_log}|$MESSAGE_LOG|g" \
    -e "s|{push}|$PUSH|g" \
    -e "s|\"{channels}\"|$channels|" "$1" >"$copy"
  # Where it is not known which service it is, those of all.
  has "$WATCHED" || sed -i "s| AND resource.labels.service_name=.\"none.\"||" "$copy"
  sed -i "s|{content}|$(sha256sum "$copy" | cut -c1-16)|" "$copy"
  echo "$copy"
}

# policies: prints the files of those that watch something which is there.
policies() {
  local file
  for file in deploy/monitoring/policies/*.json; do
    if ! has "$WATCHED" && grep -q '{orchestrator}' "$file"; then continue; fi
    if beside && grep -q '{dead_letters}' "$file"; then continue; fi
    if [[ -z $MESSAGE_TABLE ]] && grep -q '{message_log}' "$file"; then continue; fi
    echo "$file"
  done
}

# content COPY, title COPY: print its checksum, its display name.
content() { sed -n 's|.*"content": "\([0-9a-f]\{16\}\)".*|\1|p' "$1"; }
title() { sed -n 's|^  "displayName": "\(.*\)",$|\1|p' "$1"; }
