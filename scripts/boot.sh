#!/bin/sh
# Start the job runner when there is a job. Safe to run twice or at once: the runner holds a lock, and itself
# decides whether the job is finished.
dir=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
py=$(command -v python3 || command -v python) || { echo "rgt-boot-job no python: the job was not started"; exit 1; }
[ -f "$dir/job.json" ] || { echo "rgt-boot-job none"; exit 0; }
[ -f "$dir/run_job.py" ] || { echo "rgt-boot-job run_job.py is missing: the job was not started"; exit 1; }
if command -v setsid >/dev/null 2>&1; then
  nohup setsid "$py" "$dir/run_job.py" run >>"$dir/runner.log" 2>&1 </dev/null &
else
  nohup "$py" "$dir/run_job.py" run >>"$dir/runner.log" 2>&1 </dev/null &
fi
echo "rgt-boot-job handed to the runner"
