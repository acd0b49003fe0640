#!/usr/bin/env bash
# Prints where the worker image is; builds it first unless these very sources were built before, with these very
# EXTRA_PACKAGES.
#
# It lies in ${XDG_CACHE_HOME:-~/.cache}/stevedore/worker-image, in a folder named by the sources, so that a change of them
# gives another image and nothing else does. Remove the folder to have Debian's updates in it.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The files' names and contents, and whether they can be executed.
sources=$(cd "$here" && {
    find . -type f -printf '%P %m\n' | LC_ALL=C sort | while read -r name mode; do
        echo "$name $((8#$mode & 8#100)) $(sha256sum <"$name")"
    done
    [ -z "${EXTRA_PACKAGES-}" ] || echo "$EXTRA_PACKAGES"
} | sha256sum | cut -c 1-16)
folder=${XDG_CACHE_HOME:-$HOME/.cache}/stevedore/worker-image/$sources
image=$folder/worker.qcow2
mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9
if [ ! -e "$image" ]; then
    echo "building the worker image (2 minutes, once); its log is $folder/build.log" >&2
    begun=$(date +%s)
    "$here/build.sh" "$image.new" >"$folder/build.log" 2>&1 9>&- || { tail -n 20 "$folder/build.log" >&2; exit 1; }
    sed -i 's/worker\.qcow2\.new$/worker.qcow2/' "$image.new.sha256"
    mv "$image.new.sha256" "$image.sha256"
    # Last, because it says that all is there.
    mv "$image.new" "$image"
    echo "the worker image was built in $(($(date +%s) - begun)) s: $(($(stat -c %s "$image") >> 20)) MiB" >&2
fi
echo "$image"
