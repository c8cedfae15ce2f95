#!/usr/bin/env bash
# The first program of the bundle: started by the user data once it has set the deadline
# timer and verified the bundle. Prepares the machine, runs the runner, and shuts the
# machine down however that ended.
#
# Needs ARCSPOT_BUNDLE, ARCSPOT_STACK, ARCSPOT_RUNNER_API and AWS_DEFAULT_REGION.
# ARCSPOT_INSTANCE_DIR is set by the local instance host, which plays EC2 without root.
set -euo pipefail

say() { printf 'bootstrap: %s\n' "$*"; }

# Whatever happens from here on, the machine must not go on costing money. On EC2 the
# instance's shutdown behaviour turns this into a termination.
finish() {
  local code=$?
  trap - EXIT TERM INT
  say "shutting down (exit code $code)"
  shutdown -h now || systemctl poweroff --force || say "cannot shut down: the deadline timer and the watchdog will"
  exit "$code"
}
trap finish EXIT
# Without these, a signal before the runner starts would end the shell in its own way.
trap 'exit 143' TERM
trap 'exit 130' INT

: "${ARCSPOT_BUNDLE:?bootstrap: not set}" "${ARCSPOT_RUNNER_API:?bootstrap: not set}"
: "${ARCSPOT_STACK:?bootstrap: not set}" "${AWS_DEFAULT_REGION:?bootstrap: not set}"

# The deadline timer is the first of three killers. The user data sets it in its first
# line; if it is gone, set it again. The local host kills by itself.
assert_deadline() {
  [[ -n "${ARCSPOT_INSTANCE_DIR:-}" || -e /run/systemd/shutdown/scheduled ]] && return 0
  say "no deadline timer was set: setting one now"
  shutdown -h "+${ARCSPOT_DEADLINE_MINUTES:-120}"
}

# The instance store, by its model name: /dev/nvme1n1 may be the root volume on some types.
# Prints a directory to work in; any trouble with the disk means the root volume instead.
work_directory() {
  local disk
  if [[ -n "${ARCSPOT_INSTANCE_DIR:-}" ]]; then
    printf '%s/work\n' "$ARCSPOT_INSTANCE_DIR"
    return
  fi
  # The Deep Learning AMI mounts the instance store itself.
  if mountpoint -q /opt/dlami/nvme; then
    printf '/opt/dlami/nvme/arcspot\n'
    return
  fi
  for disk in /dev/disk/by-id/*Amazon_EC2_NVMe_Instance_Storage*; do
    [[ -e "$disk" && "$disk" != *-part* ]] || continue
    # mkfs without -F refuses a disk that is in use or holds a file system.
    if mkfs.ext4 -q -E nodiscard "$disk" </dev/null >&2 && mkdir -p /mnt/arcspot && mount -o noatime "$disk" /mnt/arcspot; then
      printf '/mnt/arcspot\n'
      return
    fi
  done
  printf '/var/lib/arcspot\n'
}

# A python that has torch: the Deep Learning AMI's own environment first, then PATH.
pick_python() {
  local candidate
  for candidate in /opt/pytorch/bin/python3 "$(command -v python3 || true)"; do
    [[ -x "$candidate" ]] || continue
    # find_spec does not import torch, which takes seconds.
    if "$candidate" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  say "no python3 with torch, neither /opt/pytorch/bin/python3 nor on PATH: is ImageId a Deep Learning AMI with PyTorch?" >&2
  return 1
}

assert_deadline

ARCSPOT_WORK="$(work_directory)"
mkdir -p "$ARCSPOT_WORK"
ARCSPOT_LOG="$ARCSPOT_WORK/runner.log"
# One file holds all that is said from here on; the runner ships it. tee ignores the
# signals that end the runner, so that the runner's last words get through.
exec > >(trap '' TERM INT; exec tee -a "$ARCSPOT_LOG") 2>&1
say "stack $ARCSPOT_STACK, working in $ARCSPOT_WORK"

python="$(pick_python)"
say "python: $python"
# The image's own words, in the log that is shipped: what a failure far away is read by. In the background, and
# whatever it says: no boot waits for it or fails by it.
{
  say "image: $(uname -srm), $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null || echo 'no nvidia-smi')"
  "$python" -c 'import importlib.metadata as m
for name in sorted({f"{d.name}=={d.version}" for d in m.distributions()}): print("bootstrap: package", name)' || true
} &
export ARCSPOT_WORK ARCSPOT_LOG TMPDIR="$ARCSPOT_WORK"
# No user site, no bytecode in the bundle; logs line by line.
export PYTHONPATH="$ARCSPOT_BUNDLE" PYTHONNOUSERSITE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1

# In the background, so that a signal to this shell reaches the runner at once: it then
# gives its jobs back, and only after that the machine goes down.
"$python" -m gpu_runner &
runner=$!
trap 'kill -TERM "$runner" 2>/dev/null || true' TERM INT
code=0
while true; do
  wait "$runner" && code=0 || code=$?
  # A signal ends `wait` while the runner still lives; then wait on.
  kill -0 "$runner" 2>/dev/null || break
done
say "the runner ended with exit code $code"
exit "$code"
