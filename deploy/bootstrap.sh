#!/usr/bin/env bash
# bootstrap.sh PROJECT "_ORCHESTRATOR=…,…" [MEMBER…]: all that needs an owner, for the settings that
# the builds will have. To be run once, and again when they or the phases file change; what is there
# already stays as it is. Each MEMBER, such as user:you@example.com, may start builds afterwards;
# who is an owner may anyway.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"

# It knows the project's number, and needs a service of its own for that.
gcloud services enable cloudresourcemanager.googleapis.com
PROJECT_NUMBER=$(gcloud projects describe "$GOOGLE_CLOUD_PROJECT" --format='value(projectNumber)')
source deploy/common.sh

# shellcheck disable=SC2086 # a list
gcloud services enable $(printf '%s.googleapis.com ' $SERVICES)

# theirs WHAT: stops, because something of that name is there, and this project has not made it.
theirs() {
  echo "$1 is there, and this canary's deployment has not made it: it would be changed. Give another name in" \
    "the settings; $DEPLOYER has no other: delete one that is somebody else's." >&2
  exit 1
}
for account in $(accounts); do
  mark=$MARK
  if [[ $account == "$DEPLOYER" ]]; then mark=$OURS; fi # of all canaries of the project
  if ! found=$(gcloud iam service-accounts describe "$account" \
    --format='value(description)' 2>/dev/null); then
    gcloud iam service-accounts create "${account%%@*}" --display-name="${account%%@*}" \
      --description="$mark"
  elif [[ $found != "$mark" ]]; then
    theirs "the account $account"
  fi
done
# Pub/Sub's own account is otherwise made at its first use. It gets the role that it would have got
# then: with it, it signs the deliveries.
beside || gcloud beta services identity create --service=pubsub.googleapis.com
for granted in $(project_roles); do
  IFS='=' read -r account role database <<<"$granted"
  patiently 2 gcloud projects add-iam-policy-binding "$GOOGLE_CLOUD_PROJECT" \
    --member="serviceAccount:$account" \
    --role="roles/$role" --condition="$(on_database "$database")" --format=none
done
# It deploys code that runs as these accounts and as no other, and builds it as itself.
for account in $(accounts); do
  patiently 2 gcloud iam service-accounts add-iam-policy-binding "$account" \
    --member="serviceAccount:$DEPLOYER" --role=roles/iam.serviceAccountUser --format=none
done

# Who starts a build uploads what is to be built, acts as the account that runs it, and reads what
# it says.
gcloud storage buckets describe "$SOURCES" --format=none 2>/dev/null ||
  gcloud storage buckets create "$SOURCES" --location="$REGION" --uniform-bucket-level-access
for member in "${@:3}"; do
  patiently 2 gcloud storage buckets add-iam-policy-binding "$SOURCES" --member="$member" \
    --role=roles/storage.admin \
    --format=none
  patiently 2 gcloud iam service-accounts add-iam-policy-binding "$DEPLOYER" --member="$member" \
    --role=roles/iam.serviceAccountUser --format=none
  for role in cloudbuild.builds.editor logging.viewer serviceusage.serviceUsageConsumer; do
    gcloud projects add-iam-policy-binding "$GOOGLE_CLOUD_PROJECT" --member="$member" \
      --role="roles/$role" \
      --condition=None --format=none
  done
done

# database NAME: made where there is none.
database() {
  gcloud firestore databases describe --database="$1" --format=none 2>/dev/null ||
    gcloud firestore databases create --database="$1" --location="$FIRESTORE_LOCATION" \
      --type=firestore-native
}
if has "$MEMORY_DATABASE"; then database "$MEMORY_DATABASE"; fi

# grant ACCOUNT ROLE TABLE|SCHEMA NAME: by BigQuery's own statement, because gcloud cannot grant
# there.
grant() {
  patiently 2 big query --use_legacy_sql=false \
    "GRANT \`roles/$2\` ON $3 \`$4\` TO \"serviceAccount:$1\""
}

if ! beside; then
  database "$FIRESTORE_DATABASE"
  dataset=${TABLE%.*}
  big show "${dataset/./:}" >/dev/null 2>&1 || big mk --dataset "${dataset/./:}"
  sed "s|{table}|$TABLE|" deploy/phase_completions.sql | big query --use_legacy_sql=false
  grant "$ORCHESTRATOR_ACCOUNT" bigquery.dataEditor TABLE "$TABLE"
  grant "$DEPLOYER" bigquery.dataEditor SCHEMA "$dataset"
fi
for dataset in $READ_DATASETS; do
  for account in $(readers); do
    grant "$account" bigquery.dataViewer SCHEMA "$dataset"
  done
  grant "$DEPLOYER" bigquery.metadataViewer SCHEMA "$dataset"
done
if [[ -n $MESSAGE_TABLE ]]; then
  sed -e "s|{table}|$MESSAGE_TABLE|" -e "s|{agent}|$PUBSUB_AGENT|" deploy/message_log.sql |
    big query --use_legacy_sql=false
fi

# may ACCOUNT ROLE SECRET
may() {
  patiently 2 gcloud secrets add-iam-policy-binding "$3" --member="serviceAccount:$1" \
    --role="roles/secretmanager.$2" --format=none
}
for secret in $SLACK_SECRET $HEARTBEAT_SECRET; do
  has "$secret" || continue
  may "$CANARY_ACCOUNT" secretAccessor "$secret"
  may "$DEPLOYER" viewer "$secret" # that it is there; not what it says
done
if has "$PHASES_FILE"; then
  if ! found=$(gcloud secrets describe "$PHASES_SECRET" \
    --format='value(labels.canary)' 2>/dev/null); then
    gcloud secrets create "$PHASES_SECRET" --replication-policy=automatic --labels="$LABELS"
  elif [[ $found != "$CANARY" ]]; then
    theirs "the secret $PHASES_SECRET"
  fi
  # By these labels a deployment sees, without reading it, which version is the file that it has.
  if [[ $(gcloud secrets describe "$PHASES_SECRET" --format='value(labels.content)') != "$PHASES_CONTENT" ]]; then
    version=$(gcloud secrets versions add "$PHASES_SECRET" --data-file="$PHASES_FILE" \
      --format='value(name.basename())')
    gcloud secrets update "$PHASES_SECRET" \
      --update-labels="content=$PHASES_CONTENT,version=$version"
  fi
  may "$DEPLOYER" viewer "$PHASES_SECRET"
  for account in $(readers) $(beside || echo "$ORCHESTRATOR_ACCOUNT"); do
    may "$account" secretAccessor "$PHASES_SECRET"
  done
fi
if beside && has "$WATCHED_DEAD_LETTERS"; then
  patiently 2 gcloud pubsub subscriptions add-iam-policy-binding "$WATCHED_DEAD_LETTERS" \
    --member="serviceAccount:$CANARY_ACCOUNT" --role=roles/pubsub.subscriber --format=none
fi
echo "What was granted may take seven minutes to be known everywhere: wait for as long before the first build."
