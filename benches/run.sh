#!/usr/bin/env bash
# Times updates here and in PyTorch's EMA libraries, and prints one table.
#
#   benches/run.sh                                          # on the default backend
#   benches/run.sh --no-default-features --features ndarray # with these options of cargo
#   RAYON_NUM_THREADS=1 ROUNDS=5 benches/run.sh
#
# What memory gives differs from minute to minute and from process to process. So the two take turns, in new
# processes each time, and the table has the medians over all rounds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

ROUNDS=${ROUNDS:-3}
export RAYON_NUM_THREADS=${RAYON_NUM_THREADS:-$(nproc)}
export OMP_NUM_THREADS=$RAYON_NUM_THREADS # LibTorch's

mkdir -p "${CARGO_TARGET_DIR:-target}"
target=$(cd "${CARGO_TARGET_DIR:-target}" && pwd) # cargo starts a bench in the folder of its package
venv=$target/peers-venv
results=$target/peers-results

# The copy of the list comes last: without it an earlier installation did not finish, or was another.
if ! cmp -s benches/peers/requirements.txt "$venv/requirements.txt"; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q -r benches/peers/requirements.txt
    cp benches/peers/requirements.txt "$venv/requirements.txt"
fi
cargo bench -p burn-ema-benches "$@" --bench update --no-run

cargo_options=("$@")
ours() { cargo bench -q -p burn-ema-benches "${cargo_options[@]}" --bench update -- "$@"; }

rm -rf "$results"
mkdir "$results"
for ((round = 1; round <= ROUNDS; round++)); do
    echo "== round $round of $ROUNDS"
    "$venv/bin/python" benches/peers/peers.py \
        --threads "$RAYON_NUM_THREADS" --json "$results/peers-$round.json"
    ours --json "$results/ours-$round.json"
done
echo "== all rounds, $RAYON_NUM_THREADS threads"
ours --no-run --peers "$results"/ours-*.json "$results"/peers-*.json
