# Build a box's file system in this mount name space, make it the root, and run the rest of the command line there.
# Arguments: root, host name, then "what:where" to show read-only (both without colons), -w, the same to be written to,
# then --, then the command.
set -eu
root=$1 name=$2 mode=ro
shift 2
mount --rbind "$root" "$root"
cd "$root"
while [ "$1" != -- ]; do
  if [ "$1" = -w ]; then mode=rw; shift; continue; fi
  what=${1%%:*} where=$root${1#*:}
  if [ -d "$what" ]; then mkdir -p "$where"; else mkdir -p "${where%/*}"; [ -e "$where" ] || : >"$where"; fi
  mount --bind "$what" "$where"
  [ "$mode" = rw ] || mount -o remount,bind,ro "$where"
  shift
done
shift
mkdir -p "$root/proc" "$root/dev" "$root/run" "$root/.host"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
for node in null zero full random urandom tty; do
  : >"$root/dev/$node"
  mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
cd "$root"
pivot_root . .host
cd /
hostname "$name"
umount -l /.host
rmdir /.host
exec setpriv --no-new-privs --bounding-set="-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,+net_bind_service,+sys_chroot,+setfcap" "$@"
