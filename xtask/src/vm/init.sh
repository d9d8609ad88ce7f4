#!/bin/busybox sh
# The guest's first process: makes the machine that the job expects, runs the job, tells its exit status.
# Kernel messages go to the first serial port; the second has what the job prints.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
/bin/busybox --install -s

mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs tmp /tmp
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tracefs trace /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
ln -s /proc/self/fd /dev/fd

while read -r module; do
    insmod "/lib/modules/$module.ko" || echo "cannot load $module"
done </etc/modules
hostname guest
ip link set lo up

# Should nobody be left to kill the machine. The kernel makes a variable of what it does not know on its command line.
(sleep "$bound"; poweroff -f) &

exec >/dev/ttyS1 2>&1
stty raw -echo </dev/ttyS1
cd /root || exit
echo '@@@ the job begins'
setsid sh /job </dev/null
echo "@@@ the job ended with $?"

# What was written has to get through; whoever reads it does not wait for this.
sleep 5
poweroff -f
