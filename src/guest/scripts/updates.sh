# Stands after common.sh in front of the scripts that deal with updates of the guest's packages.
#
# Each update, named by the operation that wants it, has a guard: the folder $guards/NAME. It is made once, before
# anything is started, and who finds it there starts nothing. It is on the disk and has
#   boot     "BOOT EPOCH UPTIME": in which life of the machine it was made and when, by both clocks
#   output   the end of what the package manager printed
#   result   "WORD MANAGER PACKAGES PENDING REBOOT BOOT EPOCH UPTIME", a text, "end": how it ended, and when
# What may not outlive the update is in $stage/NAME, in memory:
#   unit     what its unit runs
#   proxy    the URL of the proxy, which may hold a password
#   hide     words that must not show in what is kept, one a line
#   output   what the package manager printed, whole
#   verdict  "WORD MANAGER PACKAGES PENDING REBOOT", a text: how it ended, while the unit has not
umask 077
guards=$root/var/lib/stevedore/updates
stage=$root/run/stevedore/updates

# unit_of NAME: prints the name of its unit.
unit_of() { printf 'stevedore-update-%s.service\n' "$1"; }

# hidden NAME: copies its input, without the words that nobody may see.
hidden() {
    if [ -s "$stage/$1/hide" ]; then
        awk 'NR == FNR { if ($0 != "") hide[++last] = $0; next }
            {
                for (i = 1; i <= last; i++) {
                    shown = ""
                    while ((at = index($0, hide[i])) > 0) {
                        shown = shown substr($0, 1, at - 1) "***"
                        $0 = substr($0, at + length(hide[i]))
                    }
                    $0 = shown $0
                }
                print
            }' "$stage/$1/hide" -
    else
        cat
    fi
}

# conclude NAME VERDICT TEXT: writes down how an update ended, whole or not at all, and takes away what may not outlive it.
conclude() {
    tail -c 262144 "$stage/$1/output" 2>/dev/null | hidden "$1" >"$guards/$1/output"
    said=$(printf '%s\n' "$3" | hidden "$1")
    result=$guards/$1/result
    printf '%s %s\n%s\nend\n' "$2" "$(moment)" "$said" >"$result.$$" || return
    # Where the disk is too slow the result counts all the same, unless the machine loses its power now.
    limited 10 sync "$result.$$" 2>/dev/null
    mv "$result.$$" "$result"
    limited 10 sync "$guards/$1" 2>/dev/null
    rm -rf "${stage:?}/$1"
}
