#!/usr/bin/env bash
# Once per project, by its owner: the services, and the account that deploys. PROJECT=my-project bash deploy/bootstrap.sh
set -euo pipefail
deployer=resilience-deployer@$PROJECT.iam.gserviceaccount.com

gcloud services enable --project="$PROJECT" artifactregistry.googleapis.com bigquery.googleapis.com \
  cloudbuild.googleapis.com cloudfunctions.googleapis.com cloudresourcemanager.googleapis.com \
  cloudscheduler.googleapis.com eventarc.googleapis.com firestore.googleapis.com iam.googleapis.com \
  logging.googleapis.com monitoring.googleapis.com pubsub.googleapis.com run.googleapis.com secretmanager.googleapis.com

# on_project MEMBER ROLE CONDITION
on_project() {
  gcloud projects add-iam-policy-binding "$PROJECT" --member="serviceAccount:$1" --role="$2" --condition="$3" --format=none
}

# Pub/Sub's own account, which the deployment gives roles to, is otherwise made at its first use. Made on request it has
# no role, and cannot sign the deliveries. It gets the one that it would have got at its first use: less would do for the
# signing, but `functions deploy` looks for this one, and so does what else in the project pushes.
gcloud beta services identity create --project="$PROJECT" --service=pubsub.googleapis.com
gcloud iam service-accounts describe "$deployer" --project="$PROJECT" --format=none 2>/dev/null ||
  gcloud iam service-accounts create resilience-deployer --project="$PROJECT" --display-name="Deploys by cloudbuild.yaml"
sleep 15 # a new account is not known everywhere at once, and a binding for it would be refused

number=$(gcloud projects describe "$PROJECT" --format='value(projectNumber)')
on_project "service-$number@gcp-sa-pubsub.iam.gserviceaccount.com" roles/pubsub.serviceAgent None

for role in \
  bigquery.dataOwner bigquery.jobUser cloudbuild.builds.builder cloudfunctions.developer cloudscheduler.admin \
  datastore.user eventarc.viewer iam.serviceAccountCreator iam.serviceAccountUser logging.configWriter logging.viewer \
  monitoring.alertPolicyEditor monitoring.dashboardEditor monitoring.notificationChannelViewer pubsub.admin run.admin; do
  on_project "$deployer" "roles/$role" None
done

# It may grant what deploy/accounts.sh grants on the project, and could else make itself the owner. A binding without
# the condition, of an earlier time, would outweigh the one that has it.
gcloud projects remove-iam-policy-binding "$PROJECT" --member="serviceAccount:$deployer" \
  --role=roles/resourcemanager.projectIamAdmin --condition=None --format=none 2>/dev/null || true
grantable="'roles/bigquery.jobUser', 'roles/datastore.user', 'roles/logging.viewer'"
limit="api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly([$grantable])"
on_project "$deployer" roles/resourcemanager.projectIamAdmin \
  "^;^expression=$limit;title=Grants only what deploy/accounts.sh grants"
