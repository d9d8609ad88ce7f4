# What `cargo xtask vm` runs in the guest when no command is named: every scenario of the lab, while the watcher looks on.
status=0

uname -r
if bypeer help watch >/dev/null 2>&1; then
    bypeer watch --check || status=$?
    bypeer watch >/tmp/watch 2>&1 &
    watcher=$!
    sleep 3
fi

# What a scenario claims with tight times may fail where the processor is emulated.
bypeer lab run --all --rounds 1 || status=$?

if [ -n "$watcher" ]; then
    sleep 1
    kill -INT "$watcher"
    wait "$watcher"
    echo
    echo "bypeer watch saw:"
    cat /tmp/watch
fi
exit $status
