#!/usr/bin/env bash
# Builds the worker image: a Debian disk image in qcow2 that boots with BIOS and UEFI.
#
#   build.sh FILE       writes FILE and, beside it, FILE.sha256
#
# MIRROR (http://deb.debian.org/debian) and SECURITY_MIRROR (http://deb.debian.org/debian-security) name where the
# packages come from. EXTRA_PACKAGES names more packages of Debian to install, separated by spaces: a backup agent, for
# instance. Needs no root where user namespaces are allowed.
set -euo pipefail

readonly SUITE=trixie
readonly DISK_MIB=3072
# Partitions: begin and size in MiB. The last one is the root file system, which grows with the disk.
readonly BIOS_AT=1 BIOS_MIB=1 ESP_AT=2 ESP_MIB=62 ROOT_AT=64
readonly ROOT_MIB=$((DISK_MIB - ROOT_AT - 1))
# What the image carries until its first boot gives it one of its own.
readonly ROOT_UUID=5a11ed00-b007-4000-8000-000000000001

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly mirror=${MIRROR:-http://deb.debian.org/debian}
readonly security=${SECURITY_MIRROR:-http://deb.debian.org/debian-security}

packages() { { cat "$here/packages" && echo "${EXTRA_PACKAGES-}"; } | sed -e 's/#.*//' | tr -s ' \n' ',' | sed -e 's/^,//' -e 's/,$//'; }

# Everything of the root file system and the boot loader, left in $1 as root.ext4, bios.img, core.img and esp/.
install_system() {
    local work=$1
    # Its own cleaning would come too late, and needs files that ours removes.
    mmdebstrap --variant=minbase --format=null --skip=cleanup --include="$(packages)" \
        --aptopt='Acquire::Retries "3"' \
        --dpkgopt="$work/sources/overlay/etc/dpkg/dpkg.cfg.d/no-docs" \
        --essential-hook="copy-in $work/sources/overlay/etc/initramfs-tools /etc" \
        --customize-hook="'$work/sources/customize.sh' \"\$1\" '$work/sources' '$work' $SUITE" \
        --customize-hook="'$work/sources/filesystem.sh' \"\$1\" '$work/root.ext4' $ROOT_MIB $ROOT_UUID" \
        "$SUITE" - <<SOURCES
deb $mirror $SUITE main
deb $mirror $SUITE-updates main
deb $security $SUITE-security main
SOURCES
}

# The EFI system partition: shim and GRUB as Debian signed them, and what leads them to the root file system.
make_esp() {
    local work=$1
    truncate -s "${ESP_MIB}M" "$work/esp.img"
    mkfs.vfat -F 32 -n ESP -i b007b007 "$work/esp.img" >/dev/null
    mcopy -s -i "$work/esp.img" "$work/esp/EFI" ::
}

# Writes $2 into the disk image $1 at the MiB $3.
put() { dd if="$2" of="$1" bs=1M seek="$3" conv=notrunc,sparse status=none; }

# The first sector of the BIOS boot loader says where its second part begins, that part's first sector where the rest
# of it is: both as 64 bit sector numbers.
# shellcheck disable=SC2059 # the format is the byte
number() { local n=$1; for _ in 1 2 3 4 5 6 7 8; do printf "\\x$(printf %02x $((n & 255)))"; n=$((n >> 8)); done; }

install_bios_loader() {
    local work=$1 disk=$2 sector=$((BIOS_AT * 2048))
    number $sector | dd of="$work/boot.img" bs=1 seek=$((0x5c)) conv=notrunc status=none
    number $((sector + 1)) | dd of="$work/core.img" bs=1 seek=$((0x1f4)) conv=notrunc status=none
    # All of it but the partition table of old, which begins at 440.
    dd if="$work/boot.img" of="$disk" bs=440 count=1 conv=notrunc status=none
    put "$disk" "$work/core.img" $BIOS_AT
}

assemble() {
    local work=$1 disk=$1/disk.raw
    truncate -s "${DISK_MIB}M" "$disk"
    sfdisk --quiet "$disk" <<TABLE
label: gpt
label-id: 5A11ED00-B007-4000-8000-000000000000
start=${BIOS_AT}MiB, size=${BIOS_MIB}MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios
start=${ESP_AT}MiB, size=${ESP_MIB}MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp
start=${ROOT_AT}MiB, size=${ROOT_MIB}MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
TABLE
    make_esp "$work"
    put "$disk" "$work/esp.img" $ESP_AT
    put "$disk" "$work/root.ext4" $ROOT_AT
    install_bios_loader "$work" "$disk"
}

main() {
    [ $# -eq 1 ] || { echo "usage: build.sh FILE" >&2; exit 2; }
    "$here/tools.sh" mmdebstrap:mmdebstrap qemu-img:qemu-utils mke2fs:e2fsprogs mkfs.vfat:dosfstools mcopy:mtools \
        sfdisk:fdisk newuidmap:uidmap
    export PATH=$PATH:/usr/sbin:/sbin LC_ALL=C.UTF-8
    export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date +%s)}
    local file work
    file=$(realpath -m "$1")
    mkdir -p "$(dirname "$file")"
    # What a build that was killed left behind.
    find "${TMPDIR:-/tmp}" -mindepth 1 -maxdepth 1 -user "$(id -u)" -name 'worker-image.*' -mmin +120 -exec rm -rf {} +
    work=$(mktemp -d "${TMPDIR:-/tmp}/worker-image.XXXXXX")
    # shellcheck disable=SC2064 # the folder as it is now
    trap "rm -rf '$work'" EXIT
    # Without root the hooks run as another user, in a user namespace. They find this folder by a name that nobody else
    # can list or guess, and in it a copy of what may lie where they cannot read.
    chmod 711 "$work"
    work=$(mktemp -d "$work/XXXXXXXXXXXX")
    chmod 777 "$work"
    cp -r "$here" "$work/sources"
    chmod -R a+rX "$work/sources"
    install_system "$work"
    assemble "$work"
    qemu-img convert -f raw -O qcow2 -c "$work/disk.raw" "$file.new"
    mv "$file.new" "$file"
    (cd "$(dirname "$file")" && sha256sum "$(basename "$file")" >"$(basename "$file").sha256")
    echo "$file: $(du -h "$file" | cut -f1), $(cut -d' ' -f1 "$file.sha256")"
}

main "$@"
