#!/usr/bin/env bash
# Installs what a fresh Debian machine lacks to build Upshift and to try it: a PostgreSQL server (from the
# distribution; its own cluster is not touched), build tools, libclang (for pg_query), protoc and its files
# (for etcd-client), openssl; for tests etcd, iproute2 and iptables too, and what deploy/validate.sh needs.
# Sourced by demo.sh, test.sh and validate.sh.

prepare_as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null 2>&1; then
        sudo "$@"
    else
        echo "missing packages: run this as root once, or install sudo: $*" >&2
        return 1
    fi
}

prepare_has_server() {
    if [ -n "${UPSHIFT_PG_BIN:-}" ]; then
        [ -x "$UPSHIFT_PG_BIN/postgres" ]
        return
    fi
    local candidate
    for candidate in /usr/lib/postgresql/*/bin/postgres "$(pg_config --bindir 2>/dev/null)/postgres"; do
        [ -x "$candidate" ] && return 0
    done
    return 1
}

prepare_has_libclang() {
    # bindgen (for pg_query) needs the library and clang's own headers.
    { compgen -G '/usr/lib/*/libclang-[0-9]*.so*' || compgen -G '/usr/lib/llvm-*/lib/libclang.so*'; } >/dev/null &&
        compgen -G '/usr/lib/llvm-*/lib/clang/*/include/stddef.h' >/dev/null
}

prepare_install() {
    [ "$#" -gt 0 ] || return 0
    echo "installing: $*"
    prepare_as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    # No cluster of the distribution's: Upshift makes its own, throwaway ones.
    prepare_as_root mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' |
        prepare_as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    prepare_as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@"
}

# What deploy/validate.sh needs: systemd-analyze, and a Python that makes environments of its own.
prepare_validation() {
    local packages=()
    command -v systemd-analyze >/dev/null 2>&1 || packages+=(systemd)
    python3 -c 'import ensurepip, tomllib, venv' >/dev/null 2>&1 || packages+=(python3-venv)
    prepare_install "${packages[@]}"
}

prepare_machine() {
    local packages=()
    prepare_has_server || packages+=(postgresql)
    prepare_has_libclang || packages+=(libclang-dev)
    command -v protoc >/dev/null 2>&1 || packages+=(protobuf-compiler)
    [ -e /usr/include/google/protobuf/descriptor.proto ] || packages+=(libprotobuf-dev)
    command -v cc >/dev/null 2>&1 && command -v make >/dev/null 2>&1 || packages+=(build-essential)
    command -v openssl >/dev/null 2>&1 || packages+=(openssl)
    command -v psql >/dev/null 2>&1 || packages+=(postgresql-client)
    prepare_install "${packages[@]}"
    command -v cargo >/dev/null 2>&1 || [ ! -x "$HOME/.cargo/bin/cargo" ] || PATH="$HOME/.cargo/bin:$PATH"
    if ! command -v cargo >/dev/null 2>&1; then
        echo "no Rust toolchain: install one with https://rustup.rs" >&2
        return 1
    fi
}

# etcd for the tests, below the folder given. It is unpacked, not installed: Debian's package starts it as a
# service.
prepare_etcd() {
    local folder=$1/etcd
    command -v etcd >/dev/null 2>&1 && return
    if [ ! -x "$1/bin/etcd" ]; then
        echo "fetching: etcd-server"
        apt-cache show etcd-server >/dev/null 2>&1 || prepare_as_root apt-get update -qq
        rm -rf "$folder"
        mkdir -p "$folder" "$1/bin"
        (cd "$folder" && apt-get download -qq etcd-server && dpkg-deb --extract etcd-server_*.deb .)
        ln -sf "$folder/usr/bin/etcd" "$1/bin/etcd"
    fi
}

# What the tests make hosts with. Without it, or where the tests do not run as root, they say that they skip
# what needs hosts.
prepare_hosts() {
    local packages=()
    command -v ip >/dev/null 2>&1 || packages+=(iproute2)
    command -v iptables-restore >/dev/null 2>&1 || packages+=(iptables)
    [ "$(id -u)" -eq 0 ] && [ "${#packages[@]}" -gt 0 ] || return 0
    echo "installing: ${packages[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"
}
