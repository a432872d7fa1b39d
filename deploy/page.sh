#!/usr/bin/env bash
# The page as a function of its own: the canary's code, with an account that may only read, and none
# of its secrets. Who may look at it is said once, by hand: docs/page.md.
source deploy/common.sh

if ! has "$PAGE"; then
  echo "_PAGE names no function: no page of its own"
  exit
fi
deploy_function canary "$PAGE" canary ",PAGE_OF=$CANARY$(reader_variables)" "" \
  --service-account="$PAGE_ACCOUNT" --timeout=60 --max-instances=3
