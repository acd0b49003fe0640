#!/bin/sh
# apt-get [-c FILE] [OPTION]... update | upgrade
facts=$STEVEDORE_ROOT/facts/updates
of() { sed -n "s/^$1 //p" "$facts"; }
config=/dev/null
while [ $# -gt 0 ]; do
    case $1 in
    -c) config=$2 && shift ;;
    -o) shift ;;
    -*) ;;
    *) action=$1 ;;
    esac
    shift
done
fail() {
    printf 'E: %s\n' "$@" >&2
    exit 100
}

holder=$(of lock)
lock=/var/lib/dpkg/lock-frontend
[ -z "$holder" ] || fail "Could not get lock $lock. It is held by process $holder" \
    "Unable to acquire the dpkg frontend lock ($lock), is another process using it?"
echo 'Reading package lists...'
case $action in
update)
    why=$(of fails)
    proxy=$(of proxy)
    [ -z "$proxy" ] || grep -qF "\"$proxy\"" "$config" || why=$(of no-way)
    [ -z "$why" ] ||
        fail "$why" 'Some index files failed to download. They have been ignored, or old ones used instead.'
    ;;
upgrade)
    sleep "$(of takes)"
    count=$(of pending)
    installed=$STEVEDORE_ROOT/var/lib/installed
    [ "$(cat "$installed" 2>/dev/null)" != "$(cat "$facts")" ] || count=0
    [ "$count" -eq 0 ] || [ "$(of reboot)" != true ] || true >"$STEVEDORE_ROOT/run/reboot-required"
    cat "$facts" >"$installed"
    echo "$count upgraded, 0 newly installed, 0 to remove and $(of held-back) not upgraded."
    ;;
esac
