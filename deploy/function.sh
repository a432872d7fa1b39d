# shellcheck shell=bash
# Sourced. deploy_function NAME FLAG… deploys with what both functions have in common.
deploy_function() {
  # gcloud refuses a Python source without a main.py, before it reads the ignore file; this one is not uploaded, because
  # GOOGLE_FUNCTION_SOURCE names the real one.
  touch main.py
  # All traffic, because what update-traffic has pinned to an earlier revision stays there otherwise.
  gcloud functions deploy "$1" --gen2 --region="$REGION" --runtime=python311 \
    --source=. --ignore-file=deploy/functions.gcloudignore --build-service-account="$DEPLOYER" \
    --serve-all-traffic-latest-revision --memory=512Mi "${@:2}"
}
