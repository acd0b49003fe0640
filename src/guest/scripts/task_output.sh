# task_output NAME tail BYTES | task_output NAME from BYTES OFFSET: a piece of what a command printed, at most BYTES of it.
#
# data base64|hex TEXT | unknown NAME
record script task_output 1
output=$guards/$1/output

piece() {
    case $1 in
    tail) tail -c "$2" "$output" ;;
    *) tail -c "+$(($3 + 1))" "$output" | head -c "$2" ;;
    esac
}

if [ ! -d "$guards/$1" ]; then
    record unknown "$1"
elif [ ! -s "$output" ]; then
    record data hex ''
elif have base64; then
    record data base64 "$(piece "$2" "$3" "${4-0}" | base64 | tr -d '\n')"
else
    record data hex "$(piece "$2" "$3" "${4-0}" | od -A n -v -t x1 | tr -d ' \n')"
fi
record end
