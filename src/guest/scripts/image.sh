# image [PROGRAM]...: what an image has that workers need, besides what a test checks. For the first boot of an image.
#
# init NAME | systemd VERSION | program NAME yes|no | packages apt|dnf|none | lock free|held FILE | user NAME yes|no KEYS
# host-keys NUMBER
record script image 1
record init "$(cat "$root/proc/1/comm" 2>/dev/null)"
have systemctl && record systemd "$(systemd_version)"

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
    # shellcheck disable=SC2002 # files are read with cat only
    if [ -n "$inode" ] && cat "$root/proc/locks" | grep -q ":$inode "; then
        record lock held "$lock"
    else
        record lock free "$lock"
    fi
fi

home=$(getent passwd "$user" 2>/dev/null | cut -d : -f 6)
if [ -n "$home" ]; then
    # shellcheck disable=SC2002
    keys=$(cat "$root$home/.ssh/authorized_keys" 2>/dev/null | grep -c '^[a-z]')
    record user "$user" yes "$keys"
else
    record user "$user" no 0
fi

keys=0
set +f
for key in "$root"/etc/ssh/ssh_host_*_key; do
    [ -e "$key" ] && keys=$((keys + 1))
done
set -f
record host-keys "$keys"
record end
