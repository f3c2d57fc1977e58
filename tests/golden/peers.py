"""Runs the EMAs of other frameworks on one number and writes the EMA after each step.

    python3 -m venv venv
    venv/bin/pip install torch timm ema-pytorch diffusers accelerate mmengine pytorch-ignite optax torch-ema
    venv/bin/python tests/golden/peers.py > crates/burn-ema-rules/tests/rules/frameworks.json

The number is 0.3 at the start and sin(1.3 t) + t / 10 after step t, in f64. `framework_runs.rs` there names the
preset for each, which burn-ema-rules compares as numbers and burn-ema as tensors; nothing but this script needs Python.
"""

import copy
import importlib.metadata
import json
import math

import torch

STEPS = 60


def value(step):
    return 0.3 if step == 0 else math.sin(1.3 * step) + step / 10


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([value(0)], dtype=torch.float64))


def run(make, update, read):
    """The EMA after each step: `make(net)`, then `update(average, net, step)` with steps from 1."""
    net = Net()
    average = make(net)
    seen = []
    for step in range(1, STEPS + 1):
        with torch.no_grad():
            net.w.fill_(value(step))
        update(average, net, step)
        seen.append(float(read(average)))
    return seen


def torch_runs():
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    def update(average, net, _):
        average.update_parameters(net)

    def read(average):
        return average.module.w

    yield "torch_ema", run(lambda net: AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9)), update, read)
    yield "torch_swa", run(AveragedModel, update, read)


def timm_runs():
    from timm.utils import ModelEmaV2, ModelEmaV3

    def read(average):
        return average.module.w

    yield "timm_v2", run(lambda net: ModelEmaV2(net, decay=0.9), lambda ema, net, _: ema.update(net), read)
    cases = {
        "timm_v3": dict(decay=0.9),
        "timm_v3_warmup": dict(decay=0.9, use_warmup=True, warmup_gamma=2.0, warmup_power=0.75),
        "timm_v3_late": dict(decay=0.9, min_decay=0.3, update_after_step=7, use_warmup=True),
    }
    for name, arguments in cases.items():
        yield name, run(
            lambda net: ModelEmaV3(net, **arguments),
            lambda ema, net, step: ema.update(net, step=step),
            read,
        )


def ema_pytorch_runs():
    from ema_pytorch import EMA, KarrasEMA

    cases = {
        "ema_pytorch": dict(beta=0.9, update_after_step=20, update_every=10),
        "ema_pytorch_odd": dict(beta=0.9, update_after_step=5, update_every=3, power=0.75, min_value=0.2),
    }
    for name, arguments in cases.items():
        yield name, run(
            # Not registered as a module of the average, so that the number can go on changing.
            lambda net: EMA(net, include_online_model=False, **arguments),
            lambda ema, _net, _step: ema.update(),
            lambda ema: ema.ema_model.w,
        )
    # Defective: its interval is not in the formula.
    yield "karras_every_10", run(
        lambda net: KarrasEMA(net, sigma_rel=0.05, update_every=10),
        lambda ema, _net, _step: ema.update(),
        lambda ema: ema.ema_model.w,
    )


def diffusers_runs():
    from diffusers.training_utils import EMAModel

    cases = {
        "diffusers": dict(decay=0.8),
        "diffusers_warmup": dict(decay=0.8, use_ema_warmup=True, inv_gamma=2.0, power=0.75),
        "diffusers_late": dict(decay=0.8, min_decay=0.3, update_after_step=7),
    }
    for name, arguments in cases.items():
        yield name, run(
            lambda net: EMAModel(net.parameters(), **arguments),
            lambda ema, net, _: ema.step(net.parameters()),
            lambda ema: ema.shadow_params[0],
        )


def mmengine_runs():
    from mmengine.model import ExponentialMovingAverage, MomentumAnnealingEMA, StochasticWeightAverage

    kinds = {
        "mmengine_ema": lambda net, n: ExponentialMovingAverage(net, momentum=0.1, interval=n),
        "mmengine_annealing": lambda net, n: MomentumAnnealingEMA(net, momentum=0.05, gamma=4, interval=n),
        "mmengine_swa": lambda net, n: StochasticWeightAverage(net, interval=n),
    }
    for name, make in kinds.items():
        for interval in (1, 3):
            yield f"{name}_{interval}", run(
                lambda net: make(net, interval),
                lambda average, net, _: average.update_parameters(net),
                lambda average: average.module.w,
            )


def ignite_runs():
    from ignite.engine import Engine, Events
    from ignite.handlers import EMAHandler

    cases = {
        "ignite": (1, dict(momentum=0.1)),
        "ignite_warmup": (1, dict(momentum=0.1, momentum_warmup=0.4, warmup_iters=12)),
        "ignite_every_3": (3, dict(momentum=0.1)),
    }
    for name, (every, arguments) in cases.items():
        net = Net()
        handler = EMAHandler(net, **arguments)
        seen = []

        def process(engine, _):
            with torch.no_grad():
                net.w.fill_(value(engine.state.iteration))

        engine = Engine(process)
        handler.attach(engine, event=Events.ITERATION_COMPLETED(every=every))
        engine.add_event_handler(
            Events.ITERATION_COMPLETED, lambda _: seen.append(float(handler.ema_model.w))
        )
        engine.run(range(STEPS), max_epochs=1)
        yield name, seen


def torch_ema_runs():
    from torch_ema import ExponentialMovingAverage

    for name, use in (("pytorch_ema", True), ("pytorch_ema_constant", False)):
        yield name, run(
            lambda net: ExponentialMovingAverage(net.parameters(), decay=0.9, use_num_updates=use),
            lambda ema, net, _: ema.update(net.parameters()),
            lambda ema: ema.shadow_params[0],
        )


def optax_runs():
    import jax

    jax.config.update("jax_enable_x64", True)
    import jax.numpy as jnp
    import optax

    transform = optax.ema(0.9, debias=True)
    state = transform.init(jnp.array([value(0)], dtype=jnp.float64))
    seen = []
    for step in range(1, STEPS + 1):
        output, state = transform.update(jnp.array([value(step)], dtype=jnp.float64), state)
        seen.append(float(output[0]))
    yield "optax", seen
    old = value(0)
    seen = []
    for step in range(1, STEPS + 1):
        old = optax.incremental_update(value(step), old, 0.25)
        seen.append(float(old))
    yield "optax_incremental", seen


PACKAGES = ["torch", "timm", "ema-pytorch", "diffusers", "mmengine", "pytorch-ignite", "torch-ema", "optax"]


def main():
    runs = {}
    for source in (
        torch_runs,
        timm_runs,
        ema_pytorch_runs,
        diffusers_runs,
        mmengine_runs,
        ignite_runs,
        torch_ema_runs,
        optax_runs,
    ):
        runs.update(source())
    versions = {package: importlib.metadata.version(package) for package in PACKAGES}
    print(json.dumps({"versions": versions, "steps": STEPS, "averages": runs}, indent=1))


main()
