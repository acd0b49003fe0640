# image [PROGRAM]...: what an image has that workers need, besides what a test checks. For the first boot of an image.
#
# init NAME | program NAME yes|no | packages apt|dnf|none | lock free|held FILE | user NAME yes|no KEYS
# root DEVICE|- UUID | mounted DEVICE FOLDER (each disk partition that is mounted) | host-keys NUMBER
record script image 1
record init "$(cat "$root/proc/1/comm" 2>/dev/null)"

user=${1:-stevedore}
[ $# -gt 0 ] && shift
for program; do
    if have "$program"; then record program "$program" yes; else record program "$program" no; fi
done

if have apt-get; then
    record packages apt
    lock=/var/lib/dpkg/lock-frontend
elif have dnf; then
    record packages dnf
    lock=/var/lib/rpm/.rpm.lock
else
    record packages none
    lock=
fi
# The number of the file as it stands in the list of locks that are held: these are no flocks, so flock cannot tell.
if [ -n "$lock" ]; then
    inode=$(stat -c %i "$root$lock" 2>/dev/null)
    if [ -n "$inode" ] && cat "$root/proc/locks" | grep -q ":$inode "; then
        record lock held "$lock"
    else
        record lock free "$lock"
    fi
fi

home=$(getent passwd "$user" 2>/dev/null | cut -d : -f 6)
if [ -n "$home" ]; then
    keys=$(cat "$root$home/.ssh/authorized_keys" 2>/dev/null | grep -c '^[a-z]')
    record user "$user" yes "$keys"
else
    record user "$user" no 0
fi

# shellcheck disable=SC2002 # files are read with cat only
cat "$root/proc/mounts" 2>/dev/null | while read -r device folder _; do
    case $device in
    /dev/sr* | /dev/loop*) ;;
    /dev/*) record mounted "$device" "$folder" ;;
    esac
done
# A root file system that is on no partition of its own (zfs, overlay) has no device.
# shellcheck disable=SC2002
device=$(cat "$root/proc/mounts" 2>/dev/null | while read -r device folder _; do
    case $device:$folder in
    /dev/*:/) printf '%s\n' "$device" ;;
    esac
done | tail -n 1)
if [ -n "$device" ]; then
    record root "$device" "$(limited 5 blkid -o value -s UUID "$device" 2>/dev/null)"
else
    record root - ''
fi

keys=0
set +f
for key in "$root"/etc/ssh/ssh_host_*_key; do
    [ -e "$key" ] && keys=$((keys + 1))
done
set -f
record host-keys "$keys"
record end
