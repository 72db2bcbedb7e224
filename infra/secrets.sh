#!/bin/sh
# Makes the secrets that the manifests name, once: those that are there stay as they are.
# The store's keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; without them (on AWS,
# where pods have roles) that secret is left out. They go through a file that only you can read,
# because a command line can be read by everybody on this machine.
set -eu
umask 077
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

missing() {
    ! kubectl --namespace pathray get secret "$1" >/dev/null 2>&1
}

random() {
    od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$folder/$1"
}

if missing pathray-redis; then
    random password
    kubectl --namespace pathray create secret generic pathray-redis --from-file="$folder/password"
fi
if missing pathray-postgres; then
    random password
    kubectl --namespace pathray create secret generic pathray-postgres --from-file="$folder/password"
fi
if missing pathray-token; then
    random auth_token
    kubectl --namespace pathray create secret generic pathray-token --from-file="$folder/auth_token"
fi
if [ -n "${AWS_ACCESS_KEY_ID:-}" ] && missing pathray-store; then
    printf 'AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n' \
        "$AWS_ACCESS_KEY_ID" "$AWS_SECRET_ACCESS_KEY" >"$folder/store"
    kubectl --namespace pathray create secret generic pathray-store --from-env-file="$folder/store"
fi
