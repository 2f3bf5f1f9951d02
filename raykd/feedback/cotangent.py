"""c_k = −∂/∂z_k ⟨∂L_S/∂z_S, u⟩, u = J_S(θ)·v, v = ∇_φ ℓ, φ = θ − η∇L_S: feedback to a teacher without double backward.

Why it is the meta-gradient: θ_T reaches φ only through the teacher's outputs on the batch of the pilot, so that
∇_{θ_T} ℓ = η · Σ_k J_kᵀ c_k. The factor η is left out of c. Plain torch: what a student is, where a teacher lives and
how workers meet is the caller's; over workers L_S is a mean over the GLOBAL batch, whence sums throughout. Each
function runs with autocast off, puts the RNG back, and writes to no tensor among its arguments.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.func import jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

Params = Mapping[str, Tensor]
Outputs = tuple[Tensor, ...]
Reduce = Callable[[list[Tensor]], list[Tensor]]
Route = Literal["forward", "central", "one_sided"]


@dataclass(frozen=True)
class Micro:
    """One micro-batch of this worker, as pure functions.

    Attributes:
        forward: trainable parameters by name to the student's outputs: logits_BC, then matched features. Seeds the RNG
            itself, so that each call draws the same dropout masks; changes no module (buffers included).
        loss: (student outputs, teacher tensors) to a scalar, this micro-batch's share of L_S: each row weighs
            1/B_global. The weights w of the teachers are constants in it.
        served: the teachers' tensors, without graph: logits_KBC, then matched features.
    """

    forward: Callable[[Params], Outputs]
    loss: Callable[[Outputs, Outputs], Tensor]
    served: Outputs


def choose_route(route: Route | Literal["auto"], dtype: torch.dtype, device: torch.device) -> tuple[Route, str]:
    """The route by which u is taken, and the reason; `dtype` is that of the student's weights."""
    if route != "auto":
        return route, f"{route} asked for"
    if dtype == torch.float64:
        return "forward", f"auto: float64 weights on {device.type}, where only a jvp is exact to rounding"
    if device.type == "cpu":
        return "one_sided", "auto: one forward pass more costs least, and is exact to about 1e-3"
    # The pilot's outputs, with a graph, and those of a pass without may come from different kernels there.
    return "central", "auto: two no-grad forwards with any kernel cost less than a jvp, and are exact to about 1e-4"


def pilot(
    theta: Params, micros: Sequence[Micro], lr: float, reduce: Reduce, route: Route = "central", retain: bool = False
) -> tuple[dict[str, Tensor], list[Outputs]]:
    """The plain SGD step φ = θ − lr · ∇L_S on a copy, and the outputs at θ of each micro-batch; neither has a graph.

    `reduce` is called once, with one gradient for each parameter, also where `micros` is empty. Under `forward` the
    step runs on the attention kernel of the jvp: on a GPU another kernel may draw other masks from the same seed.

    Args:
        retain: the outputs keep their graph on `theta`, whose tensors must require gradients: the step that follows
            the roll-back starts from the same parameters and masks, and needs no forward pass of its own.
    """
    leaves = dict(theta) if retain else _leaves(theta)
    sums = [torch.zeros_like(leaf) for leaf in leaves.values()]
    outputs_at_theta: list[Outputs] = []
    with _apart(theta, route), torch.enable_grad():
        for micro in micros:
            outputs = micro.forward(leaves)
            loss = micro.loss(outputs, micro.served)
            for total, gradient in zip(sums, _gradients(loss, tuple(leaves.values()), retain), strict=True):
                total.add_(gradient)
            outputs_at_theta.append(outputs if retain else tuple(output.detach() for output in outputs))
    steps = zip(leaves.items(), reduce(sums), strict=True)
    return {name: leaf.detach() - lr * gradient for (name, leaf), gradient in steps}, outputs_at_theta


def quiz_gradient(
    phi: Params, quiz_loss: Callable[[Params], Tensor], reduce: Reduce
) -> tuple[dict[str, Tensor], Tensor]:
    """v = ∇_φ ℓ summed over the workers, and this worker's share of ℓ; one without quiz rows gives a constant 0."""
    leaves = _leaves(phi)
    with _apart(phi), torch.enable_grad():
        loss = quiz_loss(leaves)
        gradients = _gradients(loss, tuple(leaves.values()))
    return dict(zip(leaves, reduce(list(gradients)), strict=True)), loss.detach()


def outputs_at(theta: Params, micro: Micro, route: Route = "central") -> Outputs:
    """The student's outputs at θ without a graph, for a round that makes no pilot (IKD: the kept θ)."""
    with _apart(theta, route), torch.no_grad():
        return micro.forward({name: tensor.detach() for name, tensor in theta.items()})


def derivative(route: Route, theta: Params, v: Params, micro: Micro, outputs: Outputs) -> Outputs:
    """u = J_S(θ)·v, one tensor for each output, by this route; `outputs` are the student's at θ."""
    if route == "forward":
        return forward_mode(theta, v, micro)
    if route == "central":
        return central_differences(theta, v, micro)
    return one_sided_differences(theta, v, micro, outputs)


def forward_mode(theta: Params, v: Params, micro: Micro) -> Outputs:
    """u by a jvp; only the math kernel of SDPA has a forward-mode rule."""
    primals = {name: tensor.detach() for name, tensor in theta.items()}
    tangents = {name: v[name].detach() for name in primals}
    with _apart(theta, "forward"), torch.no_grad():
        u = jvp(micro.forward, (primals,), (tangents,))[1]
    return tuple(u)


def central_differences(theta: Params, v: Params, micro: Micro, step: float = 0.01) -> Outputs:
    """u = (f(θ + εv) − f(θ − εv)) / 2ε with ε = step/‖v‖ over all parameters; zeros where v is zero."""
    norm = _norm(theta, v)
    if norm == 0:
        return tuple(torch.zeros_like(output) for output in outputs_at(theta, micro))
    ahead, behind = (outputs_at(_moved(theta, v, sign * step / norm), micro) for sign in (1, -1))
    return tuple((a - b) * (norm / (2 * step)) for a, b in zip(ahead, behind, strict=True))


def one_sided_differences(theta: Params, v: Params, micro: Micro, outputs: Outputs, step: float = 1e-3) -> Outputs:
    """u = (f(θ + εv) − f(θ)) / ε with ε = step/‖v‖, f(θ) known already: one forward pass; zeros where v is zero.

    A tenth of the central step: the error in ε is of first order, and rounding allows no less. Measured against a
    float64 jvp on MiniLM students of 2 and 6 layers, along gradients and along Adam's directions: 3e-5 to 9e-4 of ‖u‖
    (central: 4e-6 to 3e-4).
    """
    norm = _norm(theta, v)
    if norm == 0:
        return tuple(torch.zeros_like(output) for output in outputs)
    ahead = outputs_at(_moved(theta, v, step / norm), micro)
    return tuple((a - output.detach()) * (norm / step) for a, output in zip(ahead, outputs, strict=True))


def cotangents(micro: Micro, outputs: Outputs, u: Outputs) -> Outputs:
    """c for each tensor of `micro.served`, of its shape and at least the outputs' precision; zeros where L_S has none.

    Args:
        outputs: the student's at θ, from `pilot` or `outputs_at`.
        u: their directional derivatives along v.
    """
    precision = outputs[0].dtype
    student = tuple(output.detach().requires_grad_() for output in outputs)
    # A store may serve half precision; 1/B_global times a small difference is not for half precision.
    served = tuple(
        tensor.detach().to(torch.promote_types(tensor.dtype, precision)).requires_grad_() for tensor in micro.served
    )
    with torch.autocast(student[0].device.type, enabled=False), torch.enable_grad():
        slopes = torch.autograd.grad(micro.loss(student, served), student, create_graph=True, allow_unused=True)
        inner = student[0].new_zeros(())
        for slope, along in zip(slopes, u, strict=True):
            if slope is not None:
                inner = inner + (slope * along.detach()).sum()
        gradients = _gradients(inner, served)
    return tuple(-gradient for gradient in gradients)


def centred(us: Sequence[Tensor], like: Tensor, rows: int, reduce: Reduce) -> list[Tensor]:
    """The derivatives u [B, C] of each micro-batch less their mean over the whole batch, all workers' rows included.

    A quiz mostly measures how far the student prefers a class at the moment, which moves the logits of all rows alike
    and has changed by the next round. What is left asks the teacher for different changes on different rows.

    Args:
        us: of this worker; a worker without rows has none.
        like: zeros [C] of u's precision and device.
        rows: of the whole batch.
        reduce: sums over workers.
    """
    (total,) = reduce([like + sum((u.sum(0) for u in us), start=torch.zeros_like(like))])
    return [u - total / rows for u in us]


def adam_preconditioned(v: Params, second_moments: Params, eps: float, reached: Params) -> dict[str, Tensor]:
    """v ⊙ 1/(√v̂ + eps), IKD's surrogate for the derivative of the student's AdamW step (v̂ constant, clipping ignored).

    Args:
        second_moments: bias-corrected, exp_avg_sq / (1 − β₂ᵗ), after the course step.
        reached: where the course step's gradient over the global batch is not 0. The direction is 0 elsewhere: no
            logit of the batch depends on those parameters, so u does not, but where v̂ is 0 too they would be 1e8 and
            a difference step, which is scaled by ‖v‖, would vanish for all others.
    """
    return {
        name: torch.where(reached[name], tensor / (second_moments[name].sqrt() + eps), 0.0)
        for name, tensor in v.items()
    }


def _norm(theta: Params, v: Params) -> float:
    # Squares of float32 entries below 1e-23 would vanish.
    norms = [torch.linalg.vector_norm(v[name], dtype=torch.float64) for name in theta]
    return torch.linalg.vector_norm(torch.stack(norms)).item()


def _moved(theta: Params, v: Params, epsilon: float) -> dict[str, Tensor]:
    return {name: tensor.detach() + epsilon * v[name] for name, tensor in theta.items()}


@contextlib.contextmanager
def _apart(params: Params, route: Route = "central") -> Iterator[None]:
    """Autocast off (bfloat16 rounds a difference of 0.01 away), the RNG put back, the kernel that the route needs."""
    device = next(iter(params.values())).device
    kernel = sdpa_kernel(SDPBackend.MATH) if route == "forward" else contextlib.nullcontext()
    fork = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
    with fork, torch.autocast(device.type, enabled=False), kernel:
        yield


def _leaves(params: Params) -> dict[str, Tensor]:
    """Leaves of their own on the same storage: a gradient asked of them reaches no module's `.grad`."""
    return {name: tensor.detach().requires_grad_() for name, tensor in params.items()}


def _gradients(scalar: Tensor, inputs: Outputs, retain: bool = False) -> Outputs:
    """∂scalar/∂inputs, zeros where it does not depend on one, or on any."""
    if not scalar.requires_grad:
        return tuple(torch.zeros_like(tensor) for tensor in inputs)
    gradients = torch.autograd.grad(scalar, inputs, allow_unused=True, retain_graph=retain)
    return tuple(torch.zeros_like(t) if g is None else g for t, g in zip(inputs, gradients, strict=True))
