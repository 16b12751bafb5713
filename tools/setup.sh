#!/bin/sh
# Installs what the tests need beside Go, where it is missing: redis-server, redis-cli, memcached, and a C
# compiler for the race detector. On Debian and its kin with apt-get, as root or by sudo; on macOS with
# Homebrew; elsewhere it says what is missing. Where nothing is, it does nothing and says nothing.
set -eu

missing() {
	for program in redis-server redis-cli memcached; do
		command -v "$program" >/dev/null || echo "$program"
	done
	# shellcheck disable=SC2046 # CC may hold arguments
	echo '#include <stdlib.h>' | $(go env CC) -E -x c - >/dev/null 2>&1 || echo "a C compiler"
}

as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		echo "setup: this needs root, and there is no sudo: $*" >&2
		exit 1
	fi
}

# Debian's packages start a service on the store's usual port, now and at every boot. The tests start
# servers of their own, so a service that isn't there yet is masked while its package is installed (for
# this boot only, should this script be killed), and then disabled.
with_apt() {
	services=
	if [ -d /run/systemd/system ]; then
		command -v redis-server >/dev/null || services="redis-server.service"
		command -v memcached >/dev/null || services="$services memcached.service"
	fi
	# shellcheck disable=SC2086 # a list
	[ -z "$services" ] || as_root systemctl --runtime mask $services
	as_root apt-get update # the lists of a fresh image are old, or absent
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
	# shellcheck disable=SC2086
	if [ -n "$services" ]; then
		as_root systemctl --runtime unmask $services
		as_root systemctl disable $services
	fi
}

if ! command -v go >/dev/null; then
	echo "setup: Go is missing; install it from https://go.dev/dl/" >&2
	exit 1
fi
list=$(missing)
[ -n "$list" ] || exit 0
echo "setup: missing:" $list

debian= brew=
case $list in *redis*) debian="redis-server redis-tools" brew="redis" ;; esac
case $list in *memcached*) debian="$debian memcached" brew="$brew memcached" ;; esac
case $list in *compiler*) debian="$debian gcc libc6-dev" ;; esac
# shellcheck disable=SC2086
if command -v apt-get >/dev/null; then
	with_apt $debian
elif command -v brew >/dev/null && [ -n "$brew" ]; then
	brew install $brew
fi

list=$(missing)
if [ -n "$list" ]; then
	echo "setup: install these, then run make again:" $list >&2
	exit 1
fi
