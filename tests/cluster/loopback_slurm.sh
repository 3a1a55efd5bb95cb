#!/usr/bin/env bash
# A Slurm of two nodes, na and nb, on this machine's loopback, for tests: a folder holds all of it.
#   loopback_slurm.sh up FOLDER     then: export SLURM_CONF=FOLDER/slurm.conf
#   loopback_slurm.sh down FOLDER
# Needs root and, on Debian 12, `apt-get install slurmctld slurmd slurm-client munge`.
set -euo pipefail
folder=$2
if [ "$1" = down ]; then
  for name in slurmd.na slurmd.nb slurmctld munged; do
    if [ -f "$folder/$name.pid" ]; then kill "$(cat "$folder/$name.pid")" || true; fi
  done
  exit 0
fi
mkdir -p "$folder/state" "$folder/spool.na" "$folder/spool.nb"
chmod 755 "$folder"
head -c 64 /dev/urandom >"$folder/key"
chmod 600 "$folder/key"
cat >"$folder/slurm.conf" <<CONF
ClusterName=loopback
SlurmctldHost=$(hostname)(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool.%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
KillWait=30
ReturnToService=2
NodeName=na NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=17001 CPUs=2 RealMemory=4000
NodeName=nb NodeHostname=$(hostname) NodeAddr=127.0.0.1 Port=17002 CPUs=2 RealMemory=4000
PartitionName=main Nodes=na,nb Default=YES MaxTime=60 State=UP
CONF
munged --force --socket="$folder/munge.socket" --key-file="$folder/key" --pid-file="$folder/munged.pid" \
  --log-file="$folder/munged.log" --seed-file="$folder/munged.seed"
export SLURM_CONF=$folder/slurm.conf
slurmctld -f "$SLURM_CONF"
slurmd -N na -f "$SLURM_CONF"
slurmd -N nb -f "$SLURM_CONF"
for _ in $(seq 30); do
  if [ "$(sinfo -h -N -t idle | wc -l)" = 2 ]; then exit 0; fi
  sleep 1
done
echo "the nodes are not idle; see $folder/*.log" >&2
exit 1
