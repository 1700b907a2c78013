#!/bin/sh
# Runs once, when the data directory is made: one role for Almanac and one for Temporal, each the owner of its own databases
# and unable to enter the other's.
set -eu

psql --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
  --set almanac_password="$DATABASE_PASSWORD" --set temporal_password="$TEMPORAL_DATABASE_PASSWORD" <<'SQL'
CREATE ROLE almanac LOGIN PASSWORD :'almanac_password';
CREATE ROLE temporal LOGIN PASSWORD :'temporal_password';
CREATE DATABASE almanac OWNER almanac;
CREATE DATABASE temporal OWNER temporal;
CREATE DATABASE temporal_visibility OWNER temporal;
REVOKE CONNECT ON DATABASE almanac, temporal, temporal_visibility FROM PUBLIC;
SQL
