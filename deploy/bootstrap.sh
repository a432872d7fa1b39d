#!/usr/bin/env bash
# Once per project, by its owner: the services, and the account that deploys. PROJECT=my-project bash deploy/bootstrap.sh
set -euo pipefail
deployer=resilience-deployer@$PROJECT.iam.gserviceaccount.com

gcloud services enable --project="$PROJECT" artifactregistry.googleapis.com bigquery.googleapis.com \
  cloudbuild.googleapis.com cloudfunctions.googleapis.com cloudresourcemanager.googleapis.com \
  cloudscheduler.googleapis.com eventarc.googleapis.com firestore.googleapis.com iam.googleapis.com \
  logging.googleapis.com monitoring.googleapis.com pubsub.googleapis.com run.googleapis.com secretmanager.googleapis.com
# Pub/Sub's own account, which the deployment gives roles to, is otherwise made at its first use.
gcloud beta services identity create --project="$PROJECT" --service=pubsub.googleapis.com

gcloud iam service-accounts describe "$deployer" --project="$PROJECT" --format=none 2>/dev/null ||
  gcloud iam service-accounts create resilience-deployer --project="$PROJECT" --display-name="Deploys by cloudbuild.yaml"
for role in \
  bigquery.dataOwner bigquery.jobUser cloudbuild.builds.builder cloudfunctions.developer cloudscheduler.admin \
  datastore.user eventarc.viewer iam.serviceAccountCreator iam.serviceAccountUser logging.configWriter logging.viewer \
  monitoring.alertPolicyEditor monitoring.dashboardEditor monitoring.notificationChannelViewer pubsub.admin \
  resourcemanager.projectIamAdmin run.admin; do
  gcloud projects add-iam-policy-binding "$PROJECT" \
    --member="serviceAccount:$deployer" --role="roles/$role" --condition=None --format=none
done
