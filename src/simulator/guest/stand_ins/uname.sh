#!/bin/sh
# uname -n | uname -r
case $1 in
-n) cat "$STEVEDORE_ROOT/etc/hostname" ;;
-r) cat "$STEVEDORE_ROOT/facts/kernel" ;;
*) echo Linux ;;
esac
