# task_stage NAME NUMBER: keeps a piece of the command of an attempt that is going to be started.
#
# The piece is on standard input. Its first line says which command it is of, so that pieces of two never mix.
#
# staged NUMBER | guarded NAME (it was begun before, or stopped) | problem PROGRAM TEXT
record script task_stage 1
piece=$stage/$1/piece.$2
if [ -d "$guards/$1" ]; then
    record guarded "$1"
elif said=$({ mkdir -p "$stage/$1" && cat >"$piece.$$" && mv "$piece.$$" "$piece"; } 2>&1); then
    record staged "$2"
else
    record problem cat "$(last_line "$said")"
fi
record end
