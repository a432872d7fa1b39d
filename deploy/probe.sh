#!/usr/bin/env bash
# A marked message goes the whole way to the orchestrator; the topic may have other subscribers that
# answer.
source deploy/common.sh

if beside; then
  echo "NOT SEEN: whether the orchestrator is alive. One that is not this project's rejects a probe, so none is sent."
  exit
fi
.venv/bin/canary probe --topic "$TOPIC" --phase "$PHASE" --service "$ORCHESTRATOR" --timeout 180
