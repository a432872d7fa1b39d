# shellcheck shell=bash
# Sourced. deploy_function canary|orchestrator NAME FLAG… stages that function and deploys it under a name, with what
# both have in common.
deploy_function() {
  staged=$(mktemp -d)
  trap 'rm -rf "$staged"' EXIT
  bash deploy/stage.sh "$1" "$staged" "$PHASES_FILE"
  # All traffic, because what update-traffic has pinned to an earlier revision stays there otherwise.
  gcloud functions deploy "$2" --gen2 --region="$REGION" --runtime=python311 \
    --source="$staged" --build-service-account="$DEPLOYER" \
    --serve-all-traffic-latest-revision --memory=512Mi "${@:3}"
}
