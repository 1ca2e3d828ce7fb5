#!/usr/bin/env bash
# Everything that CI runs: format, lints, documentation, build, tests. Installs what is missing. The tests'
# PostgreSQL is a throwaway cluster on a free port, below an unprivileged user, gone when this ends: the
# distribution's newest, or the one whose programs are in the folder that UPSHIFT_PG_BIN names, such as
#   UPSHIFT_PG_BIN=$(deploy/postgres18.sh) deploy/test.sh
# Arguments go to the last step, `cargo nextest run`.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=deploy/prepare.sh
. deploy/prepare.sh
prepare_machine

# Everything that is built or fetched for the tests stays below target/.
tools=$PWD/target/tools
PATH="$tools/bin:$PATH"
prepare_etcd "$tools"
prepare_hosts
if ! command -v cargo-nextest >/dev/null 2>&1; then
    cargo install --locked --root "$tools" cargo-nextest
fi

step() { printf '\n== %s\n' "$*"; }

# Where hosts can be made, what needs them may not be skipped.
if [ "$(id -u)" -eq 0 ] && unshare --net ip link set lo up 2>/dev/null; then
    export UPSHIFT_REQUIRE_HOSTS=1
else
    step "skipped: hosts and chaos, for only root may make hosts, and only where namespaces may be made"
fi

step format
cargo fmt --all --check
step "what deploy/ ships"
deploy/validate.sh
# Nor may tests skip what the chart renders, where it renders.
[ "$(uname -m)" != x86_64 ] || export UPSHIFT_REQUIRE_CHART=1
step lints
cargo clippy --workspace --all-targets --locked -- -D warnings
step documentation
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
step build
cargo build --workspace --all-targets --locked
step "examples in the documentation"
cargo test --workspace --doc --locked --quiet
step "tests on PostgreSQL 18"
# What meets the catalog most, on the newest version too. A machine that cannot fetch it goes without.
if [ -n "${UPSHIFT_PG_BIN:-}" ] || [ "$#" -gt 0 ]; then
    echo "skipped: the tests to run, or the server to run them on, were chosen"
elif binaries=$(deploy/postgres18.sh); then
    UPSHIFT_PG_BIN=$binaries target/debug/upshift-test-server cargo nextest run --package upshift-tests \
        --profile ci -E 'binary(/^(catalog_evolution|ddl_undo|kitchen_sink|traps)$/)'
else
    echo "skipped: PostgreSQL 18 cannot be fetched here"
fi

step "tests of coordination on etcd 3.5"
# The distribution's etcd is the one of the main job.
if [ -n "${UPSHIFT_ETCD_BIN:-}" ] || [ "$#" -gt 0 ]; then
    echo "skipped: the tests to run, or the etcd to run them on, were chosen"
elif binaries=$(deploy/etcd35.sh); then
    UPSHIFT_ETCD_BIN=$binaries cargo nextest run --package upshift-tests --profile ci \
        -E 'binary(coordination) | (binary(hosts) & test(/^etcd::/))'
else
    echo "skipped: etcd 3.5 cannot be fetched here"
fi

step tests
# Where a real database is at hand, the tests of the main job end with it; else they say that they skip it.
export UPSHIFT_ODOO_DUMP=${UPSHIFT_ODOO_DUMP:-$PWD/../shared/odoo17_demo.dump}
target/debug/upshift-test-server cargo nextest run --workspace --profile ci "$@"
