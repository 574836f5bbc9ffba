# Reads what a lab made, one thing a line, and removes it when its input ends: when the lab is
# dropped, or when its process dies, by whatever signal.
trap '' INT TERM HUP
spaces= dirs=
while read -r kind name; do
    case $kind in
    netns) spaces="$spaces $name" ;;
    dir) dirs="$dirs $name" ;;
    keep) exit 0 ;;
    esac
done
for space in $spaces; do
    # Whoever lives in a namespace of the lab was started by it.
    for pid in $(ip netns pids "$space" 2>/dev/null); do
        kill -KILL "$pid" 2>/dev/null
    done
    ip netns del "$space" 2>/dev/null
done
for dir in $dirs; do
    rm -rf -- "$dir"
done
exit 0
