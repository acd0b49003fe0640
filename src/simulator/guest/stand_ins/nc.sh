#!/bin/sh
# nc [-n] -z -v -w SECONDS HOST PORT, speaking like OpenBSD's
while [ $# -gt 2 ]; do shift; done
facts=$STEVEDORE_ROOT/facts
fails() {
    echo "nc: connect to $1 port $2 (tcp) failed: $3" >&2
    exit 1
}
case $1 in
*:* | *[0-9].*[0-9].*[0-9].*[0-9]) ;;
*)
    if ! cut -d ' ' -f 1 "$facts/hosts" | grep -qxF -- "$1"; then
        echo "nc: getaddrinfo for host \"$1\" port $2: Name or service not known" >&2
        exit 1
    fi
    ;;
esac
if grep -qxF -e "$1" -e "$1:$2" "$facts/filtered"; then
    fails "$1" "$2" 'Connection timed out'
fi
case $1 in
localhost | 127.* | ::1) ;;
*) grep -q yes "$facts/offline" && fails "$1" "$2" 'Network is unreachable' ;;
esac
grep -qxF -- "$1 $2" "$facts/open" || fails "$1" "$2" 'Connection refused'
echo "Connection to $1 $2 port [tcp/*] succeeded!" >&2
