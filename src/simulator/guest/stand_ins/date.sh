#!/bin/sh
# date +%s
read -r ahead <"$STEVEDORE_ROOT/facts/clock-ahead"
echo "$(($("$STEVEDORE_ROOT/tools/date" +%s) + ahead))"
