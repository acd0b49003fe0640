# Stands at the end of the command of an attempt, which a shell in its unit reads as the unit's user: with "check" as its
# first argument to see whether the program can be run at all, then with "run". The words of the command are the other
# arguments by now, and its variables are set, so "run" sets none.

# can_run FILE: whether this user may run it.
can_run() { [ -f "$1" ] && [ -x "$1" ]; }

say() { printf '%s\n' "$1"; }

# check PROGRAM: whether it can be run; says why it cannot.
check() {
    case $1 in
    */*)
        can_run "$1" && return
        [ -e "$1" ] || { say "there is no program $1 that this user can see" && return 1; }
        ;;
    *)
        set -f
        there=
        IFS=:
        for folder in $PATH; do
            can_run "${folder:-.}/$1" && return
            [ -e "${folder:-.}/$1" ] && there=yes
        done
        [ "$there" ] || { say "there is no program $1 in $PATH" && return 1; }
        ;;
    esac
    say "$1 cannot be run by this user" && return 1
}

case $1 in
check) check "$2" ;;
*) shift && exec "$@" </dev/null ;;
esac
