#!/usr/bin/env python3
"""The time of an update in PyTorch and its EMA libraries, in f32.

    peers.py --threads 2 --json peers.json
    peers.py --device cuda --cases vit-b,small,billion --json peers.json

The workloads and the rows are those of `cargo bench -p burn-ema-benches --bench update`, which shows them in its table
with `--peers peers.json`. Each peer runs in a process of its own, with the settings under which it averages at every
step and is fastest.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

DECAY = 0.999
WARM_UP = 5


def vit_b():
    import timm

    return timm.create_model("vit_base_patch16_224", pretrained=False)


def small():
    import torch

    model = torch.nn.Module()
    model.tensors = torch.nn.ParameterList(torch.randn(256) for _ in range(2_000))
    return model


def billion():
    import torch

    model = torch.nn.Module()
    model.tensors = torch.nn.ParameterList(torch.randn(1 << 22) for _ in range(250))
    return model


CASES = {"vit-b": vit_b, "small": small, "billion": billion}
USUAL = "vit-b,small"


def copy(model):
    import torch

    source = [parameter.detach() for parameter in model.parameters()]
    copies = [parameter.clone() for parameter in source]
    return lambda: torch._foreach_copy_(copies, source)


def foreach_lerp(model):
    import torch

    source = [parameter.detach() for parameter in model.parameters()]
    average = [parameter.clone() for parameter in source]
    return lambda: torch._foreach_lerp_(average, source, 1 - DECAY)


def averaged_model(model):
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(DECAY))
    return lambda: average.update_parameters(model)


def timm_v3(model):
    from timm.utils import ModelEmaV3

    average = ModelEmaV3(model, decay=DECAY)
    return lambda: average.update(model)


def ema_pytorch(model):
    from ema_pytorch import EMA

    # By default it averages at every tenth step, and not before the hundredth.
    average = EMA(model, beta=DECAY, update_after_step=-1, update_every=1, use_foreach=True)
    return average.update


def diffusers(model):
    from diffusers.training_utils import EMAModel

    average = EMAModel(model.parameters(), decay=DECAY, foreach=True)
    return lambda: average.step(model.parameters())


# What an average moves: it and the source are read, and it is written.
BYTES = 12
BYTES_OF_COPY = 8

PEERS = {
    "torch._foreach_copy_": copy,
    "torch._foreach_lerp_": foreach_lerp,
    "torch AveragedModel": averaged_model,
    "timm ModelEmaV3": timm_v3,
    "ema-pytorch EMA": ema_pytorch,
    "diffusers EMAModel": diffusers,
}


def measure(case, peer, flags):
    """The row of one peer, in this process."""
    import torch

    torch.set_num_threads(flags.threads)
    device = torch.device(flags.device)
    with device:
        model = CASES[case]()
    update = PEERS[peer](model)
    sizes = [parameter.numel() for parameter in model.parameters()]
    with torch.no_grad():
        # As after an optimizer step: the average has something to move towards.
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
    is_cpu = device.type == "cpu"
    wait = (lambda: None) if is_cpu else getattr(torch, device.type).synchronize
    wait()
    times = []
    for _ in range(WARM_UP + flags.runs):
        start = time.perf_counter()
        for _ in range(flags.in_a_row):
            update()
        wait()
        times.append((time.perf_counter() - start) / flags.in_a_row)
    return {
        "case": case,
        "who": peer,
        "tensors": len(sizes),
        "bytes": (BYTES_OF_COPY if PEERS[peer] is copy else BYTES) * sum(sizes),
        "seconds": statistics.median(times[WARM_UP:]),
        "is_alone": True,  # as the process does nothing else
    }


def in_child(case, peer, flags):
    command = [sys.executable, __file__, "--child", case, peer]
    for name in ("device", "threads", "runs", "in_a_row"):
        command += [f"--{name.replace('_', '-')}", str(getattr(flags, name))]
    # Libraries other than torch look at the variable, and some of torch's threads start before it is told.
    environment = {**os.environ, "OMP_NUM_THREADS": str(flags.threads)}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def chosen(parser, flag, names, known):
    names = names.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"{flag}: there is no {', '.join(unknown)}, only {', '.join(known)}")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=USUAL, help="default: %(default)s")
    parser.add_argument("--peers", default=",".join(PEERS), help="default: all, %(default)s")
    parser.add_argument("--device", default="cpu", help="torch's name of it; default: %(default)s")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all, here %(default)s")
    parser.add_argument("--runs", type=int, default=20, help="updates to take the median of; default: %(default)s")
    parser.add_argument("--in-a-row", type=int, default=1, help="updates of a run, which are waited for together")
    parser.add_argument("--json", metavar="FILE", help="write the rows there")
    parser.add_argument("--child", nargs=2, metavar=("CASE", "PEER"), help=argparse.SUPPRESS)
    flags = parser.parse_args()
    if flags.child:
        print(json.dumps(measure(*flags.child, flags)))
        return
    cases = chosen(parser, "--cases", flags.cases, CASES)
    peers = chosen(parser, "--peers", flags.peers, PEERS)
    rows = []
    for case in cases:
        for peer in peers:
            row = in_child(case, peer, flags)
            rows.append(row)
            gigabytes = row["bytes"] / row["seconds"] / 1e9
            print(f"{case}, {peer}: {1e3 * row['seconds']:.2f} ms, {gigabytes:.1f} GB/s", flush=True)
    if flags.json:
        with open(flags.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()
