#!/usr/bin/env bash
# Makes a worker of the installed system in the folder $1: our files ($2/overlay) into it, what must not be in an image out
# of it, the boot loaders into the folder $3. $4 is Debian's code name.
set -euo pipefail
root=$1 here=$2 work=$3 suite=$4
export DEBIAN_FRONTEND=noninteractive

# GRUB of the same release, installed for as long as it takes to make its image: what boots the worker has no modules
# or configuration of its own to go stale.
chroot "$root" apt-get install --yes --no-install-recommends grub-pc-bin >/dev/null
chroot "$root" grub-mkimage --format i386-pc --prefix '(,gpt3)/boot/grub' --output /tmp/core.img \
    biosdisk part_gpt ext2 normal configfile linux probe echo test serial terminal
cp "$root/tmp/core.img" "$root/usr/lib/grub/i386-pc/boot.img" "$work/"
chroot "$root" apt-get purge --yes --autoremove grub-pc-bin grub-common >/dev/null
(cd "$root/tmp" && chroot "$root" sh -c 'cd /tmp && apt-get download shim-signed grub-efi-amd64-signed' >/dev/null)
for package in "$root"/tmp/*.deb; do dpkg-deb -x "$package" "$root/tmp/signed"; done
mkdir -p "$work/esp/EFI/BOOT" "$work/esp/EFI/debian"
cp "$root/tmp/signed/usr/lib/shim/shimx64.efi.signed" "$work/esp/EFI/BOOT/BOOTX64.EFI"
cp "$root/tmp/signed/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed" "$work/esp/EFI/BOOT/grubx64.efi"
cp "$here/esp.cfg" "$work/esp/EFI/debian/grub.cfg"
# Whoever builds this goes on with them, and removes them.
chmod -R a+rwX "$work/boot.img" "$work/core.img" "$work/esp"

cp -rT "$here/overlay" "$root"
sed -i "s/@SUITE@/$suite/g" "$root/etc/apt/sources.list.d/debian.sources"
chroot "$root" systemctl enable --quiet systemd-networkd systemd-resolved systemd-timesyncd root-uuid ssh

"$here/leave-disks-alone" "$root"
# Updates are made when a worker is launched; what checks LVM volumes has none to check.
for unit in apt-daily.timer apt-daily.service apt-daily-upgrade.timer apt-daily-upgrade.service e2scrub_all.timer \
    e2scrub_reap.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done

# Made anew by each machine.
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/systemd/random-seed" "$root/var/lib/dbus/machine-id"
: >"$root/etc/machine-id"
echo worker >"$root/etc/hostname"
printf '127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n' >"$root/etc/hosts"
ln -sf ../run/systemd/resolve/stub-resolv.conf "$root/etc/resolv.conf"
chroot "$root" passwd --quiet --lock root

rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/*.log "$root"/var/log/apt "$root"/tmp/* \
    "$root"/etc/apt/apt.conf.d/*mmdebstrap "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/0000sources.list \
    "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap
mkdir -p "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial"
