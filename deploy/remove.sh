#!/usr/bin/env bash
# remove.sh PROJECT "_ORCHESTRATOR=…,…" [--yes]: takes away what these settings have deployed, by
# the project's owner. It lists what carries the mark of this canary, and asks; what does not carry
# it stays, and so does all that was written.
source "$(dirname "${BASH_SOURCE[0]}")/settings.sh"
PROJECT_NUMBER=$(gcloud projects describe "$GOOGLE_CLOUD_PROJECT" --format='value(projectNumber)')
source deploy/common.sh

all_kept
if ! beside && [[ -z $TABLE ]]; then lacks "the bigquery_table of $PHASE in $PHASES" \
  "_PHASE and _PHASES_FILE say which"; fi
if ((missing)); then
  echo "What was granted is only found by the settings of the deployment: nothing is removed." >&2
  exit 1
fi

steps=()
# plan WHAT COMMAND…
plan() {
  echo "  $1"
  steps+=("$(printf '%q ' "${@:2}")")
}
# labelled FIELD: prints the filter for what carries this canary's labels.
# By patterns, because = is going to find longer names as well.
labelled() { echo "$1.managed_by~^$OURS$ AND $1.canary~^$CANARY$"; }

# All lists are made before anything is removed, and each into a variable: a list that fails ends
# this here.
policies=$(gcloud monitoring policies list --filter="$(labelled userLabels)" --format='value(name)')
dashboards=$(gcloud monitoring dashboards list --filter="$(labelled labels)" --format='value(name)')
subscriptions=$(gcloud pubsub subscriptions list --filter="$(labelled labels)" \
  --format='value(name.basename())')
functions=$(gcloud run services list --filter="$(labelled metadata.labels)" \
  --format="csv[no-heading](metadata.name,metadata.labels['cloud.googleapis.com/location'])")
topics=$(gcloud pubsub topics list --filter="$(labelled labels)" --format='value(name.basename())')
metrics=$(gcloud logging metrics list --filter="description~\"$MARK;\"" --format='value(name)')
secrets=$(gcloud secrets list --filter="$(labelled labels)" --format='value(name.basename())')
accounts=$(gcloud iam service-accounts list --filter="description~\"^$MARK$\"" \
  --format='value(email)')
# The account that deploys is of all canaries of the project, and goes with the last.
others=$(gcloud run services list \
  --filter="metadata.labels.managed_by~^$OURS$ AND NOT metadata.labels.canary~^$CANARY$" \
  --format='value(metadata.labels.canary)')
if [[ -z $others ]]; then
  accounts+=" $(gcloud iam service-accounts list --filter="description~\"^$OURS$\"" --format='value(email)')"
fi
bound=$(bindings)

# plan_each WHAT NAMES COMMAND…: the command for each of the names.
plan_each() {
  local name
  for name in $2; do plan "$1 $name" "${@:3}" "$name"; done
}

echo "Of $CANARY in $GOOGLE_CLOUD_PROJECT:"
# First what would notify of the rest being gone, then what calls, then what is called.
plan_each "alert policy" "$policies" gcloud monitoring policies delete
plan_each dashboard "$dashboards" gcloud monitoring dashboards delete
for where in $({ echo "$REGION" && cut -sd, -f2 <<<"$functions"; } | sort -u); do
  jobs=$(gcloud scheduler jobs list --location="$where" --filter="description~\"^$MARK$\"" \
    --format='value(name.basename())')
  for name in $jobs; do
    plan "job $name in $where" gcloud scheduler jobs delete "$name" --location="$where"
  done
done
for name in $subscriptions; do
  plan "subscription $name, with what is queued on it" gcloud pubsub subscriptions delete "$name"
done
while IFS=, read -r name where; do
  [[ -z $name ]] || plan "function $name in $where" gcloud run services delete "$name" \
    --region="$where"
done <<<"$functions"
plan_each topic "$topics" gcloud pubsub topics delete
plan_each metric "$metrics" gcloud logging metrics delete

# An account's grants go before it: what is granted to one that is gone stays in the policies for
# ever.

# revoke ROLE TABLE|SCHEMA NAME ACCOUNT
revoke() {
  plan "$1 of $4 on $3" big query --use_legacy_sql=false \
    "REVOKE \`roles/$1\` ON $2 \`$3\` FROM \"serviceAccount:$4\""
}
# leaves ACCOUNT: whether it is one of those that go.
leaves() { [[ " $(echo $accounts) " == *" $1 "* ]]; }
for account in $accounts; do
  for role in $(sed -n "s/^serviceAccount:$account,\([^,]*\),.*/\1/p" <<<"$bound" | sort -u); do
    plan "$role of $account" gcloud projects remove-iam-policy-binding "$GOOGLE_CLOUD_PROJECT" \
      --member="serviceAccount:$account" --role="$role" --all --format=none
  done
done
for dataset in $READ_DATASETS; do
  for account in $(readers); do
    if leaves "$account"; then revoke bigquery.dataViewer SCHEMA "$dataset" "$account"; fi
  done
  if leaves "$DEPLOYER"; then revoke bigquery.metadataViewer SCHEMA "$dataset" "$DEPLOYER"; fi
done
if ! beside && leaves "$ORCHESTRATOR_ACCOUNT"; then
  revoke bigquery.dataEditor TABLE "$TABLE" "$ORCHESTRATOR_ACCOUNT"
  if leaves "$DEPLOYER"; then revoke bigquery.dataEditor SCHEMA "${TABLE%.*}" "$DEPLOYER"; fi
fi
for secret in $SLACK_SECRET $HEARTBEAT_SECRET; do
  has "$secret" || continue
  for pair in "$CANARY_ACCOUNT=secretAccessor" "$DEPLOYER=viewer"; do
    leaves "${pair%=*}" || continue
    plan "secretmanager.${pair#*=} of ${pair%=*} on $secret" gcloud secrets \
      remove-iam-policy-binding "$secret" \
      --member="serviceAccount:${pair%=*}" --role="roles/secretmanager.${pair#*=}" --format=none
  done
done
if beside && has "$WATCHED_DEAD_LETTERS" && leaves "$CANARY_ACCOUNT"; then
  plan "pubsub.subscriber of $CANARY_ACCOUNT on $WATCHED_DEAD_LETTERS" gcloud pubsub subscriptions \
    remove-iam-policy-binding "$WATCHED_DEAD_LETTERS" --member="serviceAccount:$CANARY_ACCOUNT" \
    --role=roles/pubsub.subscriber --format=none
fi
for name in $secrets; do
  plan "secret $name, with every version of the phases file" gcloud secrets delete "$name"
done
if leaves "$DEPLOYER"; then
  plan "the sources of builds in $SOURCES" gcloud storage rm "$SOURCES" --recursive
fi
plan_each account "$accounts" gcloud iam service-accounts delete

echo "What stays, because it holds what was written, or is not this canary's alone:"
echo "  the tables, their datasets, the topic $TOPIC, the Firestore databases, the progress documents"
echo "  what the canary remembers and what people said; to delete it:"
own=$FIRESTORE_DATABASE
if has "$MEMORY_DATABASE"; then own=$MEMORY_DATABASE; fi
echo "    gcloud firestore bulk-delete --database='$own'" \
  "--collection-ids=canary_memory,canary_people"
echo "  what answered probes; to have Firestore delete each a day later:"
echo "    gcloud firestore fields ttls update answered_at --collection-group=orchestrator_probes --enable-ttl" \
  "--database='$FIRESTORE_DATABASE'"
echo "  the functions' images and sources: the repository cloud-run-source-deploy and the bucket run-sources-…"
echo "  the services that were switched on, the role of Pub/Sub's own account, the secrets of Slack and heartbeat"
echo "  the rights of who may start builds"
if ((${#steps[@]} == 0)); then
  echo "There is nothing to remove."
  exit
fi
if [[ ${3:-} != --yes ]]; then
  read -rp "Remove these ${#steps[@]}? Type $CANARY: " answer || answer=
  if [[ $answer != "$CANARY" ]]; then
    echo "nothing was removed" >&2
    exit 1
  fi
fi
left=0
for step in "${steps[@]}"; do
  eval "$step" || {
    echo "NOT REMOVED: $step" >&2
    left=$((left + 1))
  }
done
echo "removed: $((${#steps[@]} - left)) of ${#steps[@]}"
exit $((left > 0))
