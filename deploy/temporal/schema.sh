#!/bin/sh
# Makes or upgrades the two databases of the Temporal server. Safe to run at every start.
# The databases themselves and their owner are made by deploy/postgres/10-roles.sh.
set -eu

versions=/etc/temporal/schema/postgresql/v12

# `setup-schema` on a database that has a schema would set its recorded version back to 0.0, so it runs only where there is
# no version table yet; every other failure of the upgrade is reported as it is.
bring_up_to_date() {
  database=$1
  folder=$2
  if output=$(temporal-sql-tool --database "$database" update-schema --schema-dir "$folder" 2>&1); then
    printf '%s\n' "$output"
    return
  fi
  case $output in
    *schema_version*'does not exist'*) ;;
    *) printf '%s\n' "$output" >&2; return 1 ;;
  esac
  temporal-sql-tool --database "$database" setup-schema --version 0.0
  temporal-sql-tool --database "$database" update-schema --schema-dir "$folder"
}

bring_up_to_date temporal "$versions/temporal/versioned"
bring_up_to_date temporal_visibility "$versions/visibility/versioned"
