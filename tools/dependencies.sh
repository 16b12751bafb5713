#!/bin/sh
# Writes which modules somebody who imports a package of the library builds, one line for each. On one system, since it
# differs.
set -eu
export CGO_ENABLED=0 GOOS=linux GOARCH=amd64
packages=$(go list ./...)
for package in $packages; do
	case $package in */internal/* | */examples/*) continue ;; esac
	modules=$(go list -deps -f "{{with .Module}}{{if not .Main}}$package needs {{.Path}}{{end}}{{end}}" "$package")
	printf '%s\n' "$modules" | sed '/^$/d' | LC_ALL=C sort -u
done
