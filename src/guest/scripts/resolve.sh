# resolve SECONDS NAME...: looks each name up, for at most SECONDS.
#
# name NAME ok ADDRESS... | name NAME not-found|timed-out|failed|no-tool
record script resolve 1
seconds=$1
shift

lookup() {
    case $1 in
    '' | -* | *[!A-Za-z0-9._-]*) record name "$1" failed && return ;;
    esac
    have getent || { record name "$1" no-tool && return; }
    found=$(limited "$seconds" getent ahosts "$1" </dev/null 2>/dev/null)
    case $? in
    0) printf '%s\n' "$found" | list "$1" ;;
    2) record name "$1" not-found ;;
    124) record name "$1" timed-out ;;
    *) record name "$1" failed ;;
    esac
}

# list NAME: reads "10.0.0.5 STREAM name" and keeps each address once.
list() {
    asked=$1
    set --
    while read -r address _; do
        case " $* " in
        *" $address "*) ;;
        *) [ -n "$address" ] && [ $# -lt 16 ] && set -- "$@" "$address" ;;
        esac
    done
    if [ $# -gt 0 ]; then
        record name "$asked" ok "$@"
    else
        record name "$asked" not-found
    fi
}

# A dead name server costs the whole time for each name, so all are asked at once, 16 at a time.
running=0
for name; do
    lookup "$name" &
    running=$((running + 1))
    [ $((running % 16)) -eq 0 ] && wait
done
wait
record end
