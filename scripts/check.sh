#!/usr/bin/env bash
# Runs every check, cheapest first; CI runs the same.
#
#   scripts/check.sh               # all stages of a full run
#   scripts/check.sh fmt clippy    # these only, in this order
#   scripts/check.sh --list        # what a full run does
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

STAGES=(fmt scripts imports test clippy docs core bench example gan profiles ndarray tch wgpu vulkan fusion compile)

if [ -n "${CI:-}" ]; then
    export CARGO_INCREMENTAL=0 # fresh builds gain nothing from it
    export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
fi
if [ "${CI:-}" = true ] && [ -z "${CARGO_TARGET_DIR:-}" ]; then
    # Outlives the checkout; an empty folder only costs time.
    export CARGO_TARGET_DIR=${BURN_EMA_CACHE:-$HOME/.cache/burn-ema}/target
fi

check_fmt() { cargo fmt --all --check; }

check_scripts() {
    local script status=0
    for script in scripts/*.sh benches/*.sh .ci/run; do
        bash -n "$script"
    done
    scripts/check-imports.py --self-test
    # Paths of the machine something was written on mean nothing elsewhere.
    git grep -nE '(^|[^a-zA-Z0-9._-])/(root|home/[a-z]+)/' \
        -- . ':(exclude)*Cargo.lock' ':(exclude)scripts/check.sh' || status=$?
    # git grep: 0 found something, 1 found nothing, more is an error.
    [ "$status" -eq 1 ] || { echo "machine paths in tracked files, or git failed" >&2; return 1; }
}

# Which module may import which.
check_imports() { scripts/check-imports.py; }

check_test() { cargo test --workspace; }

check_clippy() { cargo clippy --workspace --all-targets -- -D warnings; }

check_docs() { RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps; }

# The numbers know no Burn. The libraries work with no backend feature, and on a backend that only the user's `burn` enables.
check_core() {
    local tree
    tree=$(cargo tree -p burn-ema-rules --edges normal,build --prefix none)
    if grep '^burn' <<<"$tree" | grep -qv '^burn-ema-rules'; then
        echo "burn-ema-rules depends on Burn" >&2
        return 1
    fi
    cargo check -p burn-ema-rules --no-default-features
    cargo check -p burn-ema --no-default-features
    cargo check -p burn-ema-train --no-default-features
    cargo test -p burn-ema-kernels --no-default-features --features burn/ndarray --test any_backend
}

# The benches build, and three run. Its figures here mean nothing: the profile is that of the tests.
check_bench() {
    cargo bench --workspace --profile dev --no-run --bench update --bench precision --bench memory \
        --bench learner --bench frozen
    cargo bench --workspace --profile dev --bench update -- --cases small --runs 3
    cargo bench --workspace --profile dev --bench precision -- --cases small --runs 3
    cargo bench --workspace --profile dev --bench frozen -- --width 64 --runs 3
}

# The README's run, shortened: the result line has to hold, and its files have to exist.
check_example() {
    local dir last file
    dir=$(mktemp -d)
    # shellcheck disable=SC2064 # the folder's name is needed now, `dir` is gone by then
    trap "rm -rf '$dir'" EXIT
    cargo run --example digits -- --epochs 2 --out "$dir/digits" | tee "$dir/stdout"
    last=$(tail -n 1 "$dir/stdout")
    [[ $last =~ ^ema_accuracy=0\.[0-9]+\ online_accuracy=0\.[0-9]+\ ema_file=(.+)$ ]] ||
        { echo "unexpected last line: $last" >&2; return 1; }
    for file in "${BASH_REMATCH[1]}" "$dir/digits/curve.png"; do
        [ -s "$file" ] || { echo "missing or empty: $file" >&2; return 1; }
    done
}

# The GAN for a few seconds.
check_gan() {
    local dir last file
    dir=$(mktemp -d)
    # shellcheck disable=SC2064 # as above
    trap "rm -rf '$dir'" EXIT
    cargo run --example gan -- --quick --out "$dir/gan" | tee "$dir/stdout"
    last=$(tail -n 1 "$dir/stdout")
    [[ $last =~ ^ema_fd=[0-9.]+\ online_fd=[0-9.]+\ grid=(.+)$ ]] ||
        { echo "unexpected last line: $last" >&2; return 1; }
    for file in "${BASH_REMATCH[1]}" "$dir/gan/frechet.png"; do
        [ -s "$file" ] || { echo "missing or empty: $file" >&2; return 1; }
    done
}

# The picture of the README, and the table beside it.
check_profiles() {
    local dir
    dir=$(mktemp -d)
    # shellcheck disable=SC2064 # as above
    trap "rm -rf '$dir'" EXIT
    cargo run --example profiles -- --out "$dir" | tee "$dir/stdout"
    grep -q '^half-life of 1000 steps .* 1000\.0 ' "$dir/stdout" ||
        { echo "the table lacks the half-life" >&2; return 1; }
    [ -s "$dir/weight-profiles.png" ] || { echo "no picture" >&2; return 1; }
}

# The behaviour tests on a device, with these features: all, or those that are named, a binary at a time: `hook` for all of
# one, `hook:decay,parity` for some modules of it. Other backends that are compiled in serve as the other device of some.
# What a test prints is shown, for it says so where the backend lacks what the test is about.
backend_tests() {
    local device=$1 features=$2 part binary module modules filters status=0
    shift 2
    local tests=(cargo test -p burn-ema-tests --no-default-features --features "$features" --no-fail-fast)
    export BURN_DEVICE=$device # Burn panics if it is not compiled in
    if [ $# -eq 0 ]; then
        "${tests[@]}" -- --show-output
        return
    fi
    for part in "$@"; do
        binary=${part%%:*} modules=() filters=()
        [ "$part" = "$binary" ] || IFS=, read -ra modules <<<"${part#*:}"
        for module in "${modules[@]}"; do
            # Of a module that is gone no test would run, and nothing would fail.
            [ -e "tests/tests/$binary/$module.rs" ] || [ -d "tests/tests/$binary/$module" ] ||
                { echo "no module '$module' of the tests '$binary'" >&2; return 1; }
            filters+=("$module::")
        done
        "${tests[@]}" --test "$binary" -- --show-output "${filters[@]}" || status=$?
    done
    return "$status"
}

# A backend that can not be set up fails its stage: a skip would pass unseen.
setup() {
    local exports
    exports=$(scripts/setup-backends.sh "$@")
    eval "$exports"
}

# One build for all of these. `vulkan` is not among them: it compiles CubeCL's kernels as SPIR-V, and does so for the device
# `wgpu` too, which is Vulkan here.
RUN_TIME_CHOICE="flex ndarray tch wgpu"

check_ndarray() {
    setup tch # what the build needs
    backend_tests ndarray "$RUN_TIME_CHOICE"
}

check_tch() {
    setup tch
    backend_tests tch "$RUN_TIME_CHOICE"
}

check_wgpu() {
    setup tch wgpu
    # Not the real models: software Vulkan takes minutes for their convolutions.
    backend_tests wgpu "$RUN_TIME_CHOICE" ema hook learner alloc log
}

# Kernels as SPIR-V. Mesa dies of Burn's reductions as it reads them (22.3.6 of Debian 12 and 25.0.7 of its backports), so only
# tests that have none. NVIDIA's driver does not.
check_vulkan() {
    setup wgpu
    backend_tests vulkan "vulkan flex" \
        ema:averages,carry_on,config,devices,dtype,kernels,non_finite,plan,policy,post_hoc,presets,profile,schedule,walk \
        hook:decay,parity,refusals,runner log alloc:learner
}

# Operations wait in a stream, and tensors there are handles of handles.
check_fusion() {
    setup wgpu
    backend_tests wgpu "wgpu fusion flex" \
        ema:averages,batch_norm,carry_on,devices,field,kernels,modes,non_finite,record,reestimate,set,stall,strictness,update,write_back \
        hook:parity learner:averages,training,set
}

# Features that no test turns on, and backends that there is no device for. `cuda`, `rocm` and `cpu` build LLVM in, which their
# build fetches from elsewhere than crates come from: not here. And each of the others alone, for code that only some of them
# use.
check_compile() {
    local feature
    cargo clippy -p burn-ema-train --no-default-features --features vision -- -D warnings
    setup tch
    for feature in webgpu metal ndarray tch; do
        cargo clippy -p burn-ema-kernels -p burn-ema -p burn-ema-train \
            --no-default-features --features "$feature" -- -D warnings
    done
}

report=()
table() {
    printf '%s\n' "== summary" "${report[@]}"
    printf '%-10s %6d s\n' total "$SECONDS"
}

stage() {
    local name=$1 start=$SECONDS status=0 seconds
    shift
    echo "== $name"
    # A subshell keeps `set -e` alive inside the stage (`if "$@"` would not) and its exports to itself.
    set +e
    (
        set -e
        "$@"
    ) </dev/null
    status=$?
    set -e
    seconds=$((SECONDS - start))
    report+=("$(printf '%-10s %6d s' "$name" "$seconds")")
    if [ "$status" -ne 0 ]; then
        echo "== $name: FAILED after $seconds s (exit $status)"
        table
        echo "check.sh: stage '$name' failed" >&2
        exit 1
    fi
    echo "== $name: ok in $seconds s"
}

if [ "${1:-}" = --list ]; then
    printf '%s\n' "${STAGES[@]}"
    exit
fi
[ $# -gt 0 ] || set -- "${STAGES[@]}"
for name in "$@"; do
    [[ " ${STAGES[*]} " == *" $name "* ]] ||
        { echo "check.sh: unknown stage '$name' (known: ${STAGES[*]})" >&2; exit 2; }
done
for name in "$@"; do
    stage "$name" "check_$name"
done
table
