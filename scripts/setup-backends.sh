#!/usr/bin/env bash
# Installs what Burn's `wgpu` and `tch` backends need on Debian or Ubuntu (x86-64) without a GPU:
# a software Vulkan driver, and the CPU part of the LibTorch that tch 0.22 asks for.
#
#   eval "$(scripts/setup-backends.sh)"        # both
#   eval "$(scripts/setup-backends.sh tch)"    # LibTorch only
#
# LibTorch goes to ${BURN_EMA_CACHE:-~/.cache/burn-ema}; a second run finds everything in place.
# Only lines for `eval` go to stdout, everything else to stderr.
set -euo pipefail

TORCH_VERSION=2.9.0
# The CUDA libraries that torch 2.9.0's libtorch_cpu.so is linked with.
CUDA_COMPANIONS=(nvidia-cuda-cupti-cu12==12.8.90 nvidia-cuda-runtime-cu12==12.8.90)
CACHE=${BURN_EMA_CACHE:-$HOME/.cache/burn-ema}

exec 3>&1 1>&2
# `eval "$(...)"` drops the status of what it expands: a failure has to travel as a line.
trap '[ $? -eq 0 ] || echo false >&3' EXIT

say() { echo "setup-backends: $*"; }
die() { say "error: $*"; exit 1; }
emit() { printf 'export %s=%q\n' "$1" "$2" >&3; }

apt_install() {
    local root=()
    command -v apt-get >/dev/null || die "apt-get not found; install by hand: $*"
    if [ "$EUID" -ne 0 ]; then
        command -v sudo >/dev/null || die "neither root nor sudo; install by hand: $*"
        root=(sudo)
    fi
    say "installing $*"
    "${root[@]}" apt-get update -q </dev/null || die "apt-get update failed"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends "$@" </dev/null ||
        die "apt-get could not install: $*"
}

vulkan_device() { vulkaninfo --summary 2>/dev/null | sed -n 's/^[[:space:]]*deviceName *= *//p'; }

setup_wgpu() {
    local devices
    # Vulkan's tools ask for this folder; containers often have none.
    if [ ! -d "${XDG_RUNTIME_DIR:-}" ]; then
        export XDG_RUNTIME_DIR=$CACHE/runtime
        mkdir -p "$XDG_RUNTIME_DIR"
        chmod 700 "$XDG_RUNTIME_DIR"
    fi
    devices=$(vulkan_device) || true
    if [ -z "$devices" ]; then
        apt_install mesa-vulkan-drivers vulkan-tools libvulkan1
        devices=$(vulkan_device) || true
        [ -n "$devices" ] || die "no Vulkan device, although a software driver is installed"
    fi
    say "Vulkan device: ${devices//$'\n'/, }"
    emit XDG_RUNTIME_DIR "$XDG_RUNTIME_DIR"
}

# Takes the CPU part out of the CUDA wheel: 0.5 GB in place of several.
fetch_libtorch() {
    local dir=$1 unresolved
    command -v unzip >/dev/null || apt_install unzip
    python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip
    python3 -m pip --version >/dev/null 2>&1 || die "python3 has no pip"
    python3 -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 14))' ||
        die "torch $TORCH_VERSION has wheels for Python 3.10 to 3.14, found $(python3 --version)"

    say "downloading torch $TORCH_VERSION (0.9 GB) to $dir"
    rm -rf "$dir"
    mkdir -p "$dir/dl"
    python3 -m pip download -q --no-deps --only-binary=:all: -d "$dir/dl" \
        "torch==$TORCH_VERSION" "${CUDA_COMPANIONS[@]}" </dev/null ||
        die "pip could not download torch $TORCH_VERSION"
    unzip -qo "$dir/dl/torch-$TORCH_VERSION"-*.whl -d "$dir" 'torch/include/*' \
        torch/lib/libc10.so torch/lib/libtorch.so torch/lib/libtorch_cpu.so 'torch/lib/libgomp*' ||
        die "the torch wheel does not hold the expected files"
    local wheel
    for wheel in "$dir"/dl/nvidia_cuda_*.whl; do
        unzip -qo "$wheel" -d "$dir" 'nvidia/*' || die "could not unpack $wheel"
    done
    rm -r "$dir/dl"

    # libtorch_cpu.so finds nvidia/ beside torch/ through its rpath.
    unresolved=$(LD_LIBRARY_PATH=$dir/torch/lib ldd "$dir/torch/lib/libtorch_cpu.so" |
        grep 'not found') || true
    [ -z "$unresolved" ] || die "libtorch_cpu.so lacks:"$'\n'"$unresolved"
}

setup_tch() {
    local dir=$CACHE/libtorch-$TORCH_VERSION
    # torch-sys compiles C++ against LibTorch's headers.
    command -v c++ >/dev/null || apt_install g++
    # The marker is written last: without it an earlier download did not finish.
    if [ ! -e "$dir/complete" ]; then
        fetch_libtorch "$dir"
        touch "$dir/complete"
    fi
    say "LibTorch $TORCH_VERSION: $dir/torch"
    emit LIBTORCH "$dir/torch"
    case :${LD_LIBRARY_PATH:-}: in
    *:"$dir/torch/lib":*) emit LD_LIBRARY_PATH "$LD_LIBRARY_PATH" ;;
    *) emit LD_LIBRARY_PATH "$dir/torch/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" ;;
    esac
}

[ "$(uname -sm)" = "Linux x86_64" ] || die "made for Linux on x86-64, this is $(uname -sm)"
[ $# -gt 0 ] || set -- wgpu tch
for backend in "$@"; do
    case $backend in
    wgpu | tch) ;;
    *) die "unknown backend '$backend' (known: wgpu, tch)" ;;
    esac
done
mkdir -p "$CACHE"
CACHE=$(cd "$CACHE" && pwd) # the exported paths must hold from any folder
for backend in "$@"; do
    "setup_$backend"
done
