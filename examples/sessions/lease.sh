#!/bin/sh
# Borrows workers by a lease and uses them, with kubectl alone.
#
#   sh lease.sh SESSION.yaml [COMMAND [ARGUMENT]...]
#
# COMMAND is run here, once for each VM, as soon as a worker is ready for it; several run at the same time. It sees VM_ID,
# VM_NAME, WORKER and ADDRESS, the address at which the worker can be talked to. Exit code 0 of COMMAND is success. Without
# one it is only told what there would be to do. NAMESPACE is the namespace of the session; backup if not given.
#
# Exit code 0: every VM was processed; 1: not every one was.
set -eu

if [ "$#" -lt 1 ]; then
    echo "usage: $0 SESSION.yaml [COMMAND [ARGUMENT]...]" >&2
    exit 2
fi
manifest=$1
shift

in_namespace() {
    kubectl --namespace "${NAMESPACE:-backup}" --request-timeout 30s "$@"
}

# What is printed of the session by a JSONPath.
of_session() {
    in_namespace get "$session" --output "jsonpath=$1"
}

report() {
    result="{\"spec\":{\"result\":{\"outcome\":\"$2\",\"message\":\"$3\"}}}"
    for _ in 1 2 3 4 5; do
        if in_namespace patch "$1" --type merge --patch "$result"; then
            return
        fi
        sleep 2
    done
    echo "the end of $1 could not be reported; it will count as NoResult" >&2
}

# Does the work for one VM.
process() {
    task=workertask/$1
    shift
    if [ "$#" -eq 0 ]; then
        set -- echo "here VM $VM_NAME would be processed with worker $WORKER at $ADDRESS"
    fi
    # Nothing of what this script reads is for the command.
    if "$@" </dev/null; then
        report "$task" Succeeded "done with worker $WORKER"
    else
        report "$task" Failed "the command ended with exit code $?"
    fi
}

session=$(in_namespace create --filename "$manifest" --output name)
tasks=$(mktemp)

# However this ends, the workers are given back. What has no result then counts as failed.
finish() {
    rm -f "$tasks"
    in_namespace patch "$session" --type merge --patch '{"spec":{"state":"Completed"}}' ||
        echo "$session could not be completed; its workers are given back when its activeDeadline has passed" >&2
}
trap finish EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

is_finished() {
    [ "$(of_session '{.status.conditions[?(@.type=="Finished")].status}')" = True ]
}

until is_finished || in_namespace wait "$session" --for condition=WorkersAvailable --timeout 20s; do
    of_session '{range .status.waiting[*]}{.tasks} wait, {.reason}: {.message}{"\n"}{end}' || true
done

ready='{range .items[?(@.status.phase=="Running")]}{.metadata.name} {.spec.virtualMachine.id} '
ready=$ready'{.spec.virtualMachine.name} {.status.worker} {.status.address}{"\n"}{end}'
begun=' '
until is_finished; do
    # Other tasks get their workers when these are done.
    in_namespace get workertasks --field-selector "spec.sessionRef.name=${session#*/}" \
        --output "jsonpath=$ready" >"$tasks" || true
    while read -r name VM_ID VM_NAME WORKER ADDRESS; do
        case $begun in
            *" $name "*) continue ;;
        esac
        begun="$begun$name "
        export VM_ID VM_NAME WORKER ADDRESS
        process "$name" "$@" &
    done <"$tasks"
    sleep 1
done
wait

of_session '{.status.phase}: {.status.conditions[?(@.type=="Ready")].message}{"\n"}'
[ "$(of_session '{.status.phase}')" = Succeeded ]
