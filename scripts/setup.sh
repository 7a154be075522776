#!/usr/bin/env bash
# Makes .venv with everything that running (`setup.sh run`) or testing (`setup.sh test`) Tunery needs.
# Repeatable: does nothing when what it made is up to date.
set -euo pipefail
cd "$(dirname "$0")/.."

purpose=${1:-run}
torch_version=2.13.0
torch_index=https://download.pytorch.org/whl/cpu
debian_packages="postgresql bubblewrap"

say() { printf '%s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$candidate" >/dev/null 2>&1 &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "Tunery needs Python 3.11 or newer and found none." \
        "Install it (Debian 12+, Ubuntu 24.04+: apt-get install python3 python3-venv; macOS: brew install python)" \
        "or name one: make PYTHON=/path/to/python3.12 demo"
}

make_venv() {
    [ -x .venv/bin/python ] && .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' && return
    local python
    python=$(find_python)
    say "Making .venv with $("$python" --version)"
    rm -rf .venv
    if ! "$python" -c "import ensurepip, venv" 2>/dev/null; then
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            say "The venv module is missing; installing python3-venv"
            apt-get -qq update && apt-get -qq install -y python3-venv >/dev/null && "$python" -m venv .venv && return
        fi
        fail "The venv module of $python is missing. On Debian and Ubuntu: sudo apt-get install python3-venv"
    fi
    "$python" -m venv .venv
}

pip_install() { .venv/bin/python -m pip install --disable-pip-version-check --quiet "$@"; }

has_nvidia() { [ -e /dev/nvidia0 ] || command -v nvidia-smi >/dev/null 2>&1; }

install_torch() {
    .venv/bin/python -c "import torch" 2>/dev/null && return
    if [ "$(uname -s)" != Linux ] || has_nvidia; then
        say "Installing torch $torch_version, the default build (on Linux with CUDA: about 3 GB to download)"
        pip_install "torch==$torch_version"
        return
    fi
    say "Installing torch $torch_version, the CPU build (about 200 MB to download)"
    pip_install --retries 1 --timeout 20 "torch==$torch_version+cpu" 2>/dev/null && return
    pip_install --retries 1 --timeout 20 --index-url "$torch_index" "torch==$torch_version" 2>/dev/null && return
    say "The CPU build cannot be reached; installing the default build (about 3 GB to download)"
    pip_install "torch==$torch_version"
}

install_debian_packages() {
    local missing="" package
    command -v apt-get >/dev/null 2>&1 || { say "No apt-get here: tests that need $debian_packages are skipped."; return; }
    for package in $debian_packages; do
        dpkg -s "$package" >/dev/null 2>&1 || missing="$missing $package"
    done
    [ -z "$missing" ] && return
    if [ "$(id -u)" != 0 ]; then
        say "Not root, so$missing cannot be installed: the tests that need them are skipped." \
            "To run them too: sudo apt-get install$missing"
        return
    fi
    say "Installing Debian packages for the tests:$missing"
    # shellcheck disable=SC2086
    if ! { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y $missing >/dev/null; }; then
        say "Could not install$missing: the tests that need them are skipped."
    fi
}

fetch_openai_suite() {
    local version suite=.venv/openai-suite
    [ -d "$suite/tests" ] && return
    version=$(sed -n 's/^openai==//p' constraints.txt)
    say "Fetching the official client's own tests (openai $version, source distribution, about 1 MB)"
    mkdir -p "$suite"
    if .venv/bin/python -m pip download --disable-pip-version-check --quiet --no-deps --no-binary :all: \
        --dest "$suite" "openai==$version" && tar -xzf "$suite/openai-$version.tar.gz" -C "$suite" --strip-components=1; then
        rm -rf "$suite"/src "$suite"/*.tar.gz
    else
        rm -rf "$suite"
        say "Could not fetch them: the conformance test is skipped."
    fi
}

case $purpose in
    run) extras="" ;;
    test) extras="[postgres,test]" ;;
    *) fail "usage: scripts/setup.sh run|test" ;;
esac

make_venv
stamp=.venv/.ready-$purpose-$(cat pyproject.toml constraints.txt scripts/setup.sh | cksum | cut -d' ' -f1)
if [ "$purpose" = test ]; then install_debian_packages; fi
if [ ! -e "$stamp" ]; then
    install_torch
    say "Installing Tunery and what it needs (pinned in constraints.txt; about 150 MB to download)"
    pip_install --constraint constraints.txt --editable ".$extras"
    rm -f .venv/.ready-"$purpose"-*
    touch "$stamp"
fi
if [ "$purpose" = test ]; then fetch_openai_suite; fi
