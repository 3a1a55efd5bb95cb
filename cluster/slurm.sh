#!/usr/bin/env bash
{% for option in options -%}
#SBATCH {{ option }}
{% endfor %}
# Written by `mien submit`. Starts Ray on the nodes of this job, runs mien on the first of them, and
# ends all of it. Given to `sbatch` again, it takes up what is not done.
set -euo pipefail

{% for line in setup -%}
{{ line }}
{% endfor -%}
export PATH={{ programs }}:"$PATH"
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 NUMEXPR_NUM_THREADS=1
export PYTHONUNBUFFERED=1 RAY_ENABLE_UV_RUN_RUNTIME_ENV=0 RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n') # others on these nodes are kept out
export RAY_AUTH_TOKEN

scratch={{ temp_dir }}/mien-$SLURM_JOB_ID
port=$((20000 + SLURM_JOB_ID % 3000 * 3)) # and the two above it
ip=$(python -c 'import ray; print(ray.util.get_node_ip_address())')
start=(ray start --block --disable-usage-stats --log-color=false --temp-dir="$scratch" {{ resources }})

head='' workers='' command='' again=''
finish() {
  trap - EXIT
  if [ -n "$workers" ]; then kill -USR2 "$workers" 2>/dev/null || true; fi # srun passes it on
  if [ -n "$head" ]; then kill "$head" 2>/dev/null || true; fi
  wait || true
  rm -rf "$scratch" "$scratch.log"
}
# shellcheck disable=SC2317 # called by the traps
end() { if [ -n "$command" ]; then kill "$command" 2>/dev/null || true; else exit 130; fi; }
trap finish EXIT
trap end TERM INT
trap 'again=yes; end' USR1 # the time is nearly over

# Ray gives its own helpers 15 s to start, less than a cold shared disk may take: it is tried again
lead() {
  "${start[@]}" --head --node-ip-address="$ip" --port="$port" --num-cpus={{ head_cpus }} \
    --include-dashboard=false --dashboard-port=$((port + 1)) \
    --ray-client-server-port=$((port + 2)) --dashboard-agent-listen-port=0 >"$scratch.log" 2>&1 &
  head=$!
}
tries=1
lead
until grep -q 'Ray runtime started' "$scratch.log"; do
  if ! kill -0 "$head" 2>/dev/null; then
    if [ "$tries" = {{ tries }} ]; then
      echo "mien: Ray did not start on $(hostname):" >&2
      cat "$scratch.log" >&2
      exit 1
    fi
    tries=$((tries + 1))
    lead
  fi
  sleep 1
done
{% if nodes > 1 %}
# shellcheck disable=SC2016 # the nodes expand it
srun --nodes={{ nodes - 1 }} --ntasks={{ nodes - 1 }} --relative=1 --cpus-per-task={{ cores }} --kill-on-bad-exit=0 \
  bash -c 'own=$1 over=; shift; trap over=yes TERM USR2
    for _ in $(seq {{ tries }}); do "$@" >/dev/null & wait; wait; [ -z "$over" ] || break; done
    rm -rf "$own"' \
  worker "$scratch" "${start[@]}" --address="$ip:$port" --num-cpus={{ cores }} \
  --dashboard-agent-listen-port=0 &
workers=$!
{% endif %}
mien {{ words }} cluster=ray cluster.address="$ip:$port" {{ session }} &
command=$!
status=0
wait "$command" || status=$?
while kill -0 "$command" 2>/dev/null; do # a signal ended the waiting, not the command
  status=0
  wait "$command" || status=$?
done
finish
if [ -n "$again" ] && [ "$status" -ne 0 ]; then
  echo 'mien: the time is over; the job goes back into the queue.'
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
