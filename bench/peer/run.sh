#!/usr/bin/env bash
# run.sh prepare|temporal|worker|controller|api: what the rig of the peers calls. It gives PORT, PG_URL, RUNLOG and OUT, and keeps what is written to stdout.
# A copy of this folder needs CHECKOUT=<path of the project>; a link finds it by itself.
set -euo pipefail
CHECKOUT="${CHECKOUT:-$(cd "$(dirname "$(readlink -f "$0")")/../.." && pwd)}"
PEER="$CHECKOUT/bench/peer"
cd "$CHECKOUT"
export PATH="$CHECKOUT/node_modules/.bin:$PATH"

# Another one for each lane of the rig, below those that the system hands out.
TEMPORAL_PORT="${TEMPORAL_PORT:-$((10000 + PORT % 10000))}"
export PEER_DATA="$OUT/almanac.$PORT" PEER_BUNDLES="$OUT/almanac.bundles" TEMPORAL_PORT
export DATABASE_URL="$PG_URL" TEMPORAL_ADDRESS="127.0.0.1:$TEMPORAL_PORT" TEMPORAL_NAMESPACE=default HOST=127.0.0.1
export ALMANAC_BOOTSTRAP_KEY=a-key-of-the-rig-with-enough-characters ALMANAC_HANDLERS="$PEER/handlers" RATE_LIMIT_PER_SECOND=0 LOG_LEVEL="${LOG_LEVEL:-info}"
export NODE_COMPILE_CACHE="$CHECKOUT/node_modules/.cache/node"
# As many at once as the other peers' workers; CONC=0 leaves the default.
[ "${CONC:-25}" = 0 ] || export WORKER_SLOTS="${CONC:-25}" POOL_CALLS_PER_TARGET="${CONC:-25}"

case "$1" in
prepare)
  rm -rf "$PEER_DATA"
  mkdir -p "$PEER_DATA" "$PEER_BUNDLES"
  node src/main-migrate.ts
  node "$PEER/bundle.ts"
  ;;
temporal)
  touch "$PEER_DATA/temporal.started"
  exec node "$PEER/temporal.ts"
  ;;
worker)
  WORKFLOW_BUNDLE="$(ls "$PEER_BUNDLES"/workflows-*.js)" exec node --max-semi-space-size=16 src/main-worker.ts
  ;;
controller) exec node --max-semi-space-size=4 src/main-controller.ts ;;
api) exec node --max-semi-space-size=16 "$PEER/api.ts" ;;
*) echo "run.sh prepare|temporal|worker|controller|api" >&2 && exit 2 ;;
esac
