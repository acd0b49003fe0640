# start_unit NAME PROGRAM [ARGUMENT]...: starts a program as the transient unit NAME.service, unless there is one.
#
# started NAME | exists NAME STATE | unsure NAME (it may have started) | problem PROGRAM TEXT
record script start_unit 1
name=$1
shift
if have systemctl && have systemd-run; then
    shown=$(limited 10 systemctl show -p LoadState,ActiveState -- "$name.service" 2>&1)
    case $shown in
    *LoadState=not-found*)
        # It stays loaded when it has ended, so that its end can be read and its name is not used twice.
        said=$(limited 20 systemd-run --quiet --remain-after-exit --unit="$name" -- "$@" </dev/null 2>&1)
        code=$?
        case $code:$said in
        0:*) record started "$name" ;;
        124:*) record unsure "$name" ;;
        *'already exists'* | *'already loaded'* | *'has a fragment file'*) record exists "$name" unknown ;;
        *) record problem systemd-run "exit code $code: $(last_line "$said")" ;;
        esac
        ;;
    *LoadState=*) record exists "$name" "$(printf '%s\n' "$shown" | sed -n 's/^ActiveState=//p')" ;;
    *) record problem systemctl "$(last_line "$shown")" ;;
    esac
else
    record problem systemd-run 'systemd is not there'
fi
record end
