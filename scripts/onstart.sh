#!/bin/bash
# Runs at every container start, verbatim as sent at create. Holds no secret, never prints the environment,
# never fails the container. Last line: `rgt-boot ok` or `rgt-boot degraded <reason>`.
rgt_dir=/workspace/.rgt
rgt_bad=""
mkdir -p "$rgt_dir" 2>/dev/null || rgt_bad="state-directory"
for key in /etc/ssh/ssh_host_*_key.pub; do
  [ -r "$key" ] || continue
  read -r kind blob _ < "$key" || [ -n "$blob" ] || continue
  echo "rgt-hostkey $kind $blob"
  print=$(ssh-keygen -lf "$key" -E sha256 2>/dev/null | cut -d' ' -f2) || print=""
  [ -n "$print" ] && echo "rgt-hostkey-sha256 $kind $print"
done
py=$(command -v python3 || command -v python || true)
if [ -n "$py" ]; then echo "rgt-python $py"; else echo "rgt-python none"; rgt_bad="${rgt_bad:-no-python}"; fi
smi=""
if command -v nvidia-smi >/dev/null 2>&1; then
  smi=$(timeout 20 nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null) || rgt_bad="${rgt_bad:-nvidia-smi-failed}"
  cuda=$(timeout 20 nvidia-smi 2>/dev/null | sed -n 's/.*CUDA Version: *\([0-9.]*\).*/\1/p' | head -n 1)
else
  cuda=""; rgt_bad="${rgt_bad:-no-nvidia-smi}"
fi
if [ -n "$py" ]; then
  RGT_SMI="$smi" RGT_CUDA="$cuda" timeout 30 "$py" - "$rgt_dir" <<'RGT' || rgt_bad="${rgt_bad:-boot-json}"
import json, os, platform, shutil, sys, time
d = sys.argv[1]
path = os.path.join(d, "boot.json")
try:
    with open(path) as f:
        n = int(json.load(f)["boot_count"])
except Exception:  # no file yet, or half a file: counting begins anew, and a boot must not fail on it
    n = 0
rows = [r.rsplit(",", 1) for r in os.environ["RGT_SMI"].splitlines() if "," in r]
seen = {"version": 1, "boot_count": n + 1, "gpus": [r[0].strip() for r in rows],
        "driver": rows[0][1].strip() if rows else None, "cuda": os.environ["RGT_CUDA"] or None,
        "python": platform.python_version(), "disk_free_bytes": shutil.disk_usage(d).free,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
with open(path + ".tmp", "w") as f:
    json.dump(seen, f)
    f.flush()
    os.fsync(f.fileno())
os.rename(path + ".tmp", path)
RGT
fi
if [ -f "$rgt_dir/boot.sh" ]; then
  timeout 60 sh "$rgt_dir/boot.sh" || rgt_bad="${rgt_bad:-boot-script}"
fi
if [ -z "$rgt_bad" ]; then echo "rgt-boot ok"; else echo "rgt-boot degraded $rgt_bad"; fi
true
