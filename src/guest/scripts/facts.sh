# facts [WAIT]: what this guest is. Waits at most WAIT seconds for cloud-init to finish.
#
# clock begin|end EPOCH | hostname NAME | kernel RELEASE | os ID VERSION NAME | boot ID | disk FOLDER TOTAL FREE (bytes)
# link NAME MAC STATE | address NAME ADDRESS/PREFIX SCOPE ok|tentative|dadfailed | route inet|inet6 GATEWAY|- NAME
# nameserver ADDRESS resolv.conf|resolved | cloud-init STATE | problem PROGRAM TEXT
record script facts 1
record clock begin "$(date +%s)"

# cloud_init: done, running, error, disabled, not-run ...; absent without the program, unknown without an answer.
#
# The program itself takes long where a machine is slow. So what it writes down is asked first: there is a status while
# it runs, and a result when it has ended.
cloud_init() {
    have cloud-init || { echo absent && return; }
    # shellcheck disable=SC2002 # files are read with cat only
    result=$(cat "$root/run/cloud-init/result.json" 2>/dev/null | tr -d ' \t\n')
    case $result in
    *'"errors":[]'*) echo 'done' && return ;;
    *'"errors":['*) echo error && return ;;
    esac
    if cat "$root/run/cloud-init/status.json" >/dev/null 2>&1; then
        echo running && return
    fi
    word=$(limited 10 cloud-init status </dev/null 2>/dev/null | sed -n 's/^status: *//p' | tr ' ' '-')
    echo "${word:-unknown}"
}

left=${1:-0}
setup=$(cloud_init)
while [ "$left" -gt 0 ]; do
    case $setup in
    running | not-*) sleep 1 ;;
    *) break ;;
    esac
    left=$((left - 1))
    setup=$(cloud_init)
done
record cloud-init "$setup"

record hostname "$(uname -n)"
record kernel "$(uname -r)"
record boot "$(boot_id 2>/dev/null)"

# No here-documents: older versions of bash write them to the disk, which may be full.
{ cat "$root/etc/os-release" 2>/dev/null || cat "$root/usr/lib/os-release" 2>/dev/null; } | {
    id=
    version=
    pretty=
    while IFS= read -r entry; do
        value=${entry#*=}
        case $value in
        \"*\") value=${value#\"} && value=${value%\"} ;;
        \'*\') value=${value#\'} && value=${value%\'} ;;
        esac
        case $entry in
        ID=*) id=$value ;;
        VERSION_ID=*) version=$value ;;
        PRETTY_NAME=*) pretty=$value ;;
        esac
    done
    record os "$id" "$version" "$pretty"
}

for folder in / /var/lib; do
    limited 5 df -P -k "$folder" 2>/dev/null | {
        read -r _
        read -r _ total _ free _ || total=
        case $total$free in
        '' | *[!0-9]*) record problem df "it gives no sizes for $folder" ;;
        *) record disk "$folder" "$((total * 1024))" "$((free * 1024))" ;;
        esac
    }
done

# links: reads "2: eth0@if3: <UP> mtu 1500 state UP ...\ link/ether MAC ...".
links() {
    while read -r _ name rest; do
        name=${name%:}
        mac=-
        state=-
        # shellcheck disable=SC2086 # words are wanted, and globbing is off
        set -- $rest
        while [ $# -gt 1 ]; do
            case $1 in
            link/*) mac=$2 ;;
            state) state=$2 ;;
            esac
            shift
        done
        record link "${name%%@*}" "$mac" "$state"
    done
}

# addresses: reads "2: eth0 inet 10.0.0.5/24 brd ... scope global eth0\ ...".
addresses() {
    while read -r _ name family address rest; do
        case $family$address in
        inet*/*) ;;
        inet6*) address=$address/128 ;;
        inet*) address=$address/32 ;;
        *) continue ;;
        esac
        scope=-
        health=ok
        # shellcheck disable=SC2086
        set -- $rest
        while [ $# -gt 0 ]; do
            case $1 in
            scope) scope=${2:--} ;;
            dadfailed) health=dadfailed ;;
            tentative) [ $health = dadfailed ] || health=tentative ;;
            esac
            shift
        done
        record address "${name%%@*}" "$address" "$scope" "$health"
    done
}

# routes FAMILY: reads "default via 10.0.0.1 dev eth0 ...".
routes() {
    while read -r _ rest; do
        gateway=-
        name=-
        # shellcheck disable=SC2086
        set -- $rest
        while [ $# -gt 1 ]; do
            case $1 in
            via) gateway=$2 ;;
            dev) name=$2 ;;
            esac
            shift
        done
        record route "$family" "$gateway" "$name"
    done
}

if have ip; then
    limited 5 ip -o link show 2>/dev/null | links
    limited 5 ip -o addr show 2>/dev/null | addresses
    family=inet
    limited 5 ip -o -4 route show default 2>/dev/null | routes
    family=inet6
    limited 5 ip -o -6 route show default 2>/dev/null | routes
else
    record problem ip "there is no such program"
fi

# nameservers SOURCE: reads a resolv.conf.
nameservers() {
    while read -r key value _; do
        [ "$key" = nameserver ] && record nameserver "$value" "$1"
    done
}
# shellcheck disable=SC2002
cat "$root/etc/resolv.conf" 2>/dev/null | nameservers resolv.conf
# shellcheck disable=SC2002
cat "$root/run/systemd/resolve/resolv.conf" 2>/dev/null | nameservers resolved

record clock end "$(date +%s)"
record end
