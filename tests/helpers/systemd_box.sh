# Become a systemd of our own: systemd_box.sh LAYOUT DIRECTORY UID BIND...
# The caller is in new mount, pid, cgroup, uts, ipc and network namespaces, alone in the cgroups that are its roots.
set -eu
layout=$1 directory=$2 uid=$3
shift 3
root=$directory/root
mount --make-rprivate /
mount -t tmpfs -o mode=755 box "$directory"
mkdir "$directory/upper" "$directory/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$directory/upper,workdir=$directory/work" overlay "$root"
for bind in "$@"; do
	mkdir -p "$root$bind"
	mount --rbind "$bind" "$root$bind"
done
mount -t proc proc "$root/proc"
# systemd would set the machine's own.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
# A user namespace may mount proc where one is in sight that nothing covers.
mkdir "$root/run/whole-proc"
mount -t proc proc "$root/run/whole-proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
	: >"$root/dev/$device"
	mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
if [ "$layout" = v2 ]; then
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
else
	mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
	mkdir "$root/sys/fs/cgroup/unified"
	mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup/unified"
	# The controllers of each of the machine's own hierarchies, as the kernel names them.
	cut -d: -f2 /proc/self/cgroup | grep . | while read -r controllers; do
		mkdir "$root/sys/fs/cgroup/${controllers#name=}"
		case $controllers in
		name=*) options=none,$controllers ;;
		*) options=$controllers ;;
		esac
		mount -t cgroup -o "$options" cgroup "$root/sys/fs/cgroup/${controllers#name=}"
	done
fi

# Units of our own alone: nothing of the machine's starts, not even what every unit wants by default. Of that,
# systemd-tmpfiles --remove --boot would empty the machine's own /tmp, of which parts are bound here.
units=$root/etc/systemd/system
rm -rf "$units" "$root"/usr/lib/systemd/system/*.wants
mkdir -p "$units"
cat >"$units/box.target" <<X
[Unit]
DefaultDependencies=no
Wants=dbus.socket user.service
X
cat >"$units/dbus.socket" <<X
[Unit]
DefaultDependencies=no
[Socket]
ListenStream=/run/dbus/system_bus_socket
X
cat >"$units/dbus.service" <<X
[Unit]
DefaultDependencies=no
Requires=dbus.socket
[Service]
Type=notify
ExecStart=/usr/bin/dbus-daemon --system --address=systemd: --nofork --nopidfile --systemd-activation
X
# A user manager without logind: what pam_systemd and user@.service amount to.
echo "box:x:$uid:$uid::/:/bin/sh" >>"$root/etc/passwd"
echo "box:x:$uid:" >>"$root/etc/group"
mkdir -p "$root/run/user/$uid"
chown "$uid:$uid" "$root/run/user/$uid"
chmod 700 "$root/run/user/$uid"
cat >"$units/user.service" <<X
[Unit]
DefaultDependencies=no
[Service]
Type=notify
User=$uid
Group=$uid
Environment=XDG_RUNTIME_DIR=/run/user/$uid HOME=/ SYSTEMD_UNIT_PATH=/run/user/$uid/units
ExecStart=/lib/systemd/systemd --user --unit=nothing.target --log-target=null
Delegate=yes
KillMode=mixed
TimeoutStopSec=5
X
mkdir -p "$root/run/user/$uid/units"
printf '[Unit]\nDefaultDependencies=no\n' >"$root/run/user/$uid/units/nothing.target"
chown -R "$uid:$uid" "$root/run/user/$uid"

mkdir "$root/old"
cd "$root"
pivot_root . old
umount -l /old
exec env -i container=box PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	/lib/systemd/systemd --system --unit=box.target --log-target=console --log-level=notice </dev/null
