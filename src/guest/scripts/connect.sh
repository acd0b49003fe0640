# connect SECONDS [HOST PORT]...: opens a TCP connection to each target, waiting at most SECONDS, and closes it.
#
# target HOST PORT ok|refused|timed-out|unresolved|unreachable|failed|no-tool PROGRAM|- TEXT
record script connect 1
seconds=$1
shift
limit=$((seconds + 1))

by_nc() {
    # A number needs no look-up; without -n some versions ask for its name, which hangs where name service is dead.
    case $1 in
    *:* | *[0-9].*[0-9].*[0-9].*[0-9]) set -- -n "$1" "$2" ;;
    esac
    limited "$limit" nc -z -v -w "$seconds" "$@"
}

# shellcheck disable=SC2016 # bash itself shall expand it
by_bash() { limited "$limit" bash -c 'exec 3<>"/dev/tcp/$1/$2"' bash "$1" "$2"; }

by_python3() {
    limited "$limit" python3 -I -S -c 'import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()
except OSError as error:
    sys.exit(str(error))' "$1" "$2" "$seconds"
}

by_curl() {
    case $1 in
    *:*) set -- "[$1]" "$2" ;;
    esac
    said=$(limited "$limit" curl -v --noproxy '*' --connect-timeout "$seconds" -m "$seconds" "telnet://$1:$2" 2>&1)
    ended=$?
    printf '%s\n' "$said"
    # A connection that stands is cut by the time limit, which is no failure.
    case $said in
    *'* Connected to '*) return 0 ;;
    esac
    return "$ended"
}

# unfit TEXT: whether a program failed because it cannot do this at all, so that the next one must try.
unfit() {
    case $1 in
    *'nvalid option'* | *'nrecognized option'* | *'nknown option'* | *sage:*) true ;;
    */dev/tcp/*'No such file'* | *'not supported or disabled'*) true ;;
    *) false ;;
    esac
}

# verdict CODE TEXT: one word for it.
verdict() {
    case $1 in
    0) echo ok && return ;;
    124) echo timed-out && return ;;
    esac
    case $2 in
    *efused*) echo refused ;;
    *'not known'* | *esolve* | *'name resolution'* | *'o address associated'* | *'nknown host'* | *'host lookup'*)
        echo unresolved
        ;;
    *'imed out'* | *TIMEOUT*) echo timed-out ;;
    *nreachable* | *'o route to host'*) echo unreachable ;;
    *) echo failed ;;
    esac
}

probe() {
    case $1 in
    '' | -* | *[!A-Za-z0-9.:_-]*) record target "$1" "$2" failed - 'not a host name or address' && return ;;
    esac
    # Programs tell a dead name service from a silent target badly or not at all, so names are looked up first.
    case $1 in
    *:* | *[0-9].*[0-9].*[0-9].*[0-9]) ;;
    *)
        if have getent && ! limited "$seconds" getent ahosts "$1" </dev/null >/dev/null 2>&1; then
            record target "$1" "$2" unresolved getent ''
            return
        fi
        ;;
    esac
    for tool in nc bash python3 curl; do
        have "$tool" || continue
        text=$("by_$tool" "$1" "$2" </dev/null 2>&1)
        code=$?
        [ "$code" -ne 0 ] && unfit "$text" && continue
        record target "$1" "$2" "$(verdict "$code" "$text")" "$tool" "$(last_line "$text")"
        return
    done
    record target "$1" "$2" no-tool - 'none of nc, bash, python3 and curl can connect'
}

running=0
while [ $# -gt 1 ]; do
    probe "$1" "$2" &
    shift 2
    running=$((running + 1))
    [ $((running % 16)) -eq 0 ] && wait
done
wait
record end
