#!/bin/sh
# Installs the Debian packages named as arguments, those that are missing; on another system, or
# without the right to install, says which ones are needed.
set -eu

if ! command -v apt-get >/dev/null 2>&1; then
    echo "deps: this is no Debian; please see that you have what it calls: $*" >&2
    exit 0
fi

missing=
for package in "$@"; do
    case $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true) in
    installed) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -n "$missing" ] || exit 0

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null 2>&1; then
        echo "deps: no root and no sudo; as root, please: apt-get install$missing" >&2
        exit 1
    fi
    as_root=sudo
fi

echo "deps: installing$missing"
# shellcheck disable=SC2086 # the list is meant to be split
install() {
    $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --quiet --no-install-recommends $missing
}
# The package lists of a fresh machine are empty or old: fetch them only when they do not serve.
install 2>/dev/null || { $as_root apt-get update --quiet && install; }
