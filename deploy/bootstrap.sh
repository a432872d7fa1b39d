#!/usr/bin/env bash
# bootstrap.sh PROJECT "_ORCHESTRATOR=…,…": all that needs an owner, for the substitutions that the builds will have.
# To be run once, and again when they or the phases file change; what is there already stays as it is.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export GOOGLE_CLOUD_PROJECT=$1 CLOUDSDK_CORE_PROJECT=$1 CLOUDSDK_CORE_DISABLE_PROMPTS=1
while read -r default; do
  declare "$default"
done < <(sed -nE 's/^  _([A-Z_]+): "?([^"#]*[^"# ])?"? *(#.*)?$/\1=\2/p' cloudbuild.yaml)
IFS=, read -ra given <<<"$2"
for one in "${given[@]}"; do
  name=${one%%=*}
  if [[ $name != _* ]] || ! declare -p "${name#_}" >/dev/null 2>&1; then
    echo "cloudbuild.yaml has no substitution $name" >&2
    exit 1
  fi
  declare "${one#_}"
done
PROJECT_NUMBER=0 # until the service that knows it is on
source deploy/common.sh

# shellcheck disable=SC2086 # a list
gcloud services enable $(printf '%s.googleapis.com ' $SERVICES)
PROJECT_NUMBER=$(gcloud projects describe "$GOOGLE_CLOUD_PROJECT" --format='value(projectNumber)')
source deploy/common.sh

for account in $(accounts); do
  gcloud iam service-accounts describe "$account" --format=none 2>/dev/null ||
    gcloud iam service-accounts create "${account%%@*}" --display-name="Orchestrator resilience: ${account%%@*}"
done
# Pub/Sub's own account is otherwise made at its first use. It gets the role that it would have got then: with it, it
# signs the deliveries.
beside || gcloud beta services identity create --service=pubsub.googleapis.com
for pair in $(project_roles); do
  patiently 2 gcloud projects add-iam-policy-binding "$GOOGLE_CLOUD_PROJECT" \
    --member="serviceAccount:${pair%%=*}" --role="roles/${pair#*=}" --condition=None --format=none
done
# It deploys code that runs as these accounts and as no other, and builds it as itself.
for account in $(accounts); do
  patiently 2 gcloud iam service-accounts add-iam-policy-binding "$account" \
    --member="serviceAccount:$DEPLOYER" --role=roles/iam.serviceAccountUser --format=none
done

# grant ACCOUNT ROLE TABLE|SCHEMA NAME: by BigQuery's own statement, because gcloud cannot grant there.
grant() { patiently 2 big query --use_legacy_sql=false "GRANT \`roles/$2\` ON $3 \`$4\` TO \"serviceAccount:$1\""; }

if ! beside; then
  gcloud firestore databases describe --database="$FIRESTORE_DATABASE" --format=none 2>/dev/null ||
    gcloud firestore databases create --database="$FIRESTORE_DATABASE" --location="$FIRESTORE_LOCATION" \
      --type=firestore-native
  dataset=${TABLE%.*}
  big show "${dataset/./:}" >/dev/null 2>&1 || big mk --dataset "${dataset/./:}"
  sed "s|{table}|$TABLE|" deploy/phase_completions.sql | big query --use_legacy_sql=false
  grant "$ORCHESTRATOR_ACCOUNT" bigquery.dataEditor TABLE "$TABLE"
  grant "$DEPLOYER" bigquery.dataEditor SCHEMA "$dataset"
fi
for dataset in $READ_DATASETS; do
  grant "$CANARY_ACCOUNT" bigquery.dataViewer SCHEMA "$dataset"
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
  [[ $secret == none ]] && continue
  may "$CANARY_ACCOUNT" secretAccessor "$secret"
  may "$DEPLOYER" viewer "$secret" # that it is there; not what it says
done
if [[ -n $PHASES_FILE ]]; then
  gcloud secrets describe "$PHASES_SECRET" --format=none 2>/dev/null ||
    gcloud secrets create "$PHASES_SECRET" --replication-policy=automatic --labels="$OURS"
  # The label lets a deployment see, without reading it, whether the secret is the file that it has.
  if [[ $(gcloud secrets describe "$PHASES_SECRET" --format='value(labels.content)') != "$PHASES_CONTENT" ]]; then
    gcloud secrets versions add "$PHASES_SECRET" --data-file="$PHASES_FILE"
    gcloud secrets update "$PHASES_SECRET" --update-labels="content=$PHASES_CONTENT"
  fi
  may "$CANARY_ACCOUNT" secretAccessor "$PHASES_SECRET"
  may "$DEPLOYER" viewer "$PHASES_SECRET"
  beside || may "$ORCHESTRATOR_ACCOUNT" secretAccessor "$PHASES_SECRET"
fi
