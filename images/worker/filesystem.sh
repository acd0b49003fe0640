#!/usr/bin/env bash
# Makes the ext4 file system $2, $3 MiB large, with UUID $4, of all that is below the folder $1.
set -euo pipefail
root=$1 file=$2 mib=$3 uuid=$4
# A second view of the folder shows what is under the mounts in it, and not the machine that builds this.
view=$(dirname "$file")/view
mkdir "$view"
mount --bind "$root" "$view"
trap 'umount "$view"; rmdir "$view"' EXIT
truncate -s "${mib}M" "$file"
# metadata_csum_seed: the UUID can change while the file system is mounted.
E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH mke2fs -q -t ext4 -F -L worker-root -U "$uuid" -E "hash_seed=$uuid,lazy_itable_init=1" \
    -O metadata_csum_seed -m 1 -d "$view" "$file"
