#!/usr/bin/env bash
# The columns of the completion log, where it is this project's.
source deploy/common.sh

if beside; then
  echo "_ORCHESTRATOR=none: the completion log is not this project's, and stays as it is"
  exit
fi
.venv/bin/canary setup
