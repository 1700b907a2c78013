#!/bin/sh
# Makes Almanac's namespace in Temporal once; TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE are read by the CLI itself.
set -eu

attempts=0
until temporal operator cluster health >/dev/null 2>&1; do
  attempts=$((attempts + 1))
  if [ "$attempts" -ge 30 ]; then
    echo "Temporal at $TEMPORAL_ADDRESS did not become healthy within a minute" >&2
    exit 1
  fi
  sleep 2
done

if temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" >/dev/null 2>&1; then
  echo "namespace $TEMPORAL_NAMESPACE exists"
else
  # Seven days of history; older executions are answered from Almanac's own rows.
  temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention 168h
fi
