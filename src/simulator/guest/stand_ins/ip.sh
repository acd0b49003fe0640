#!/bin/sh
# ip -o link show | ip -o addr show | ip -o -4|-6 route show default
case "$*" in
*link*) cat "$STEVEDORE_ROOT/facts/links" ;;
*addr*) cat "$STEVEDORE_ROOT/facts/addresses" ;;
*-4*route*) cat "$STEVEDORE_ROOT/facts/routes4" ;;
*-6*route*) cat "$STEVEDORE_ROOT/facts/routes6" ;;
*) exit 255 ;;
esac
