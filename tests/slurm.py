"""Slurm's commands, as far as a training needs them, on hosts that are this machine.

    stand_in(folder, nodes=["a", "b"], on="exec ip netns exec $node")    then put it on the PATH

sbatch runs the script in the foreground, as `--wait` does; srun runs its command once on each node
and ends all when one has failed; scancel sends a signal to what srun started.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

COMMANDS = {
    "sbatch": r"""#!/bin/bash
here=$(dirname "$0")
for script; do :; done
told() { sed -n "s/^#SBATCH --$1=//p" "$script" | tr -d '"'; }
[ "$(told partition)" = moon ] && { echo "sbatch: error: invalid partition: moon" >&2; exit 1; }
echo "$@" >>"$here/submitted"
export SLURM_JOB_ID=$$ SLURM_JOB_NODELIST=all SLURM_JOB_NAME=$(told job-name)
bash "$script" >>"$(told output)" 2>&1
""",
    "scontrol": r"""#!/bin/bash
cat "$(dirname "$0")/nodes"
""",
    "srun": r"""#!/bin/bash
here=$(dirname "$0")
while [ "${1#-}" != "$1" ]; do shift; done
tasks=()
while read -r node; do
  export SLURM_NODEID=${#tasks[@]}
  "$here/on" "$node" "$@" </dev/null &
  tasks+=($!)
done <"$here/nodes"
echo "${tasks[@]}" >"$here/$SLURM_JOB_NAME.tasks"
status=0
for task in "${tasks[@]}"; do
  wait -n || { status=$?; kill "${tasks[@]}" 2>/dev/null; }
done
exit "$status"
""",
    "scancel": r"""#!/bin/bash
sign=KILL
for word; do
  case $word in
    --name=*) name=${word#--name=} ;;
    --signal=*) sign=${word#--signal=} ;;
    --state=PENDING) exit 0 ;;
  esac
done
echo "$sign" >>"$(dirname "$0")/cancelled"
kill -s "$sign" $(cat "$(dirname "$0")/$name.tasks") 2>/dev/null
""",
}


def stand_in(folder: Path, nodes: Sequence[str] = ("here",), on: str = "exec") -> Path:
    """A folder with the commands; `on` comes before the command that runs on `$node`."""
    folder.mkdir()
    (folder / "nodes").write_text("".join(f"{node}\n" for node in nodes))
    script = f'#!/bin/bash\nnode=$1\nshift\n{on} "$@"\n'
    for name, text in {**COMMANDS, "on": script}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder
