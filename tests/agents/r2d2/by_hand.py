"""A network small enough to compute with by hand: one number of memory, and a line of it for each action.

    s[t] = decay s[t-1] + number[t] + effect[previous action] + reward[t] / 2,    s = 0 before an episode
    q[t, a] = slope[a] s[t] + bias[a]

The same once more in NumPy, a step at a time, and with it the loss of R2D2 as the paper has it.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from culmen.components.networks import RecurrentInputs
from culmen.components.networks import RecurrentNetwork
from culmen.core.types import FIRST
from culmen.core.types import LAST
from culmen.core.types import MID
from culmen.core.types import Sample
from culmen.core.types import Steps

ONLINE = {'decay': 0.5, 'effect': [0.0, 0.0], 'slope': [1.0, 2.0], 'bias': [0.0, -1.0]}
TARGET = {'decay': 0.5, 'effect': [0.0, 0.0], 'slope': [3.0, 1.0], 'bias': [1.0, 2.0]}


def params(numbers: Any = ONLINE) -> Any:
    """As arrays."""
    return {name: jnp.asarray(value, jnp.float32) for name, value in numbers.items()}


def unroll(params: Any, inputs: RecurrentInputs, state: Any) -> tuple[Any, Any]:
    """Windows [B, T]: action values [B, T, 2] and the state [B, 1] after."""
    observation: Any = inputs.observation
    if isinstance(observation, dict):
        observation = observation['number']
    values = []
    for t in range(inputs.step_type.shape[1]):
        first = inputs.step_type[:, t, None] == FIRST
        action = jnp.where(first, -1, inputs.previous_action[:, t, None])
        effect = jnp.where(action >= 0, params['effect'][action], 0.0)
        state = jnp.where(first, 0.0, params['decay'] * state)
        state = state + observation[:, t, None] + effect + inputs.reward[:, t, None] / 2
        values.append(params['slope'][None] * state + params['bias'][None])
    return jnp.stack(values, axis=1), state


NETWORK = RecurrentNetwork(
    init=lambda key: params(),
    initial_state=lambda batch_size: jnp.zeros((batch_size, 1)),
    step=None,  # type: ignore[arg-type]
    unroll=unroll,
)


def sample(
    number: Any,
    reward: Any,
    action: Any = None,
    discount: Any = None,
    state: float = 0.0,
    previous_action: int = 0,
    first: bool = False,
    num_real: int | None = None,
    legal: Any = None,
) -> Sample:
    """One window: number [T + 1]; reward, action, discount [T], of which `num_real` transitions are real."""
    length = len(reward)
    num_real = length if num_real is None else num_real
    step_type = np.full(length + 1, MID, np.int32)
    step_type[0] = FIRST if first else MID
    if num_real < length or (discount is not None and discount[-1] == 0):
        step_type[num_real:] = LAST
    observation: Any = np.asarray(number, np.float32)[None]
    if legal is not None:
        observation = {'number': observation, 'legal_actions': np.asarray(legal, bool)[None]}
    steps = Steps(
        step_type=step_type[None],
        reward=np.concatenate([[0.0], reward]).astype(np.float32)[None],
        discount=np.concatenate([[1.0], np.ones(length) if discount is None else discount])
        .astype(np.float32)[None],
        observation=observation,
        action=np.asarray(np.zeros(length) if action is None else action, np.int32)[None],
        extras={
            'core_state': np.full((1, 1, 1), state, np.float32),
            'previous_action': np.full((1, 1), previous_action, np.int32),
        },
        mask=(np.arange(length) < num_real)[None],
    )  # fmt: skip
    return Sample(steps, np.ones(1, np.float32), np.int32(1), *np.zeros((2, 1), np.int32))


def batch(*samples: Sample, probability: Any = None, size: int = 8) -> Sample:
    """Windows together."""
    import jax

    steps = jax.tree_util.tree_map(
        lambda *leaves: np.concatenate(leaves), *(each.steps for each in samples)
    )
    num = len(samples)
    drawn = np.full(num, 1.0 / size) if probability is None else probability
    return Sample(
        steps, np.asarray(drawn, np.float32), np.int32(size), *np.zeros((2, num), np.int32)
    )


def random_batch(seed: int, length: int = 7, num: int = 12) -> Sample:
    """Windows that begin episodes and that don't, whole, cut short, terminated and truncated."""
    generator = np.random.default_rng(seed)
    windows = []
    for i in range(num):
        num_real = length if i % 3 == 0 else int(generator.integers(1, length))
        discount = np.ones(length)
        discount[num_real - 1] = generator.integers(2)
        windows.append(
            sample(
                generator.normal(size=length + 1),
                3 * generator.normal(size=length),
                generator.integers(2, size=length),
                discount,
                state=generator.normal(),
                previous_action=int(generator.integers(2)),
                first=bool(i % 2),
                num_real=num_real,
            )
        )
    return batch(*windows, probability=generator.uniform(0.05, 0.3, num))


def random_numbers(seed: int) -> Any:
    """Parameters."""
    generator = np.random.default_rng(seed)
    drawn = {name: generator.normal(size=2).tolist() for name in ('effect', 'slope', 'bias')}
    return {'decay': 0.7, **drawn}


# The loss as the paper has it, in float64, a window and a step at a time.


def h(x: float) -> float:
    """Kapturowski et al. 2019, section 2.3."""
    return float(np.sign(x) * (np.sqrt(np.abs(x) + 1) - 1) + 1e-3 * x)


def h_inverse(y: float) -> float:
    """The x of which h is y, by bisection."""
    low, high = -1e6, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if h(middle) < y else (low, middle)
    return (low + high) / 2


def states(numbers: Any, steps: Steps, row: int, before: Any = ()) -> list[float]:
    """The memory at each time step of a window, of which the first are those `before`."""
    given = list(before)
    for t in range(len(given), steps.step_type.shape[1]):
        state = given[t - 1] if t else float(steps.extras['core_state'][row, 0, 0])
        previous = int(steps.action[row, t - 1] if t else steps.extras['previous_action'][row, 0])
        if steps.step_type[row, t] == FIRST:
            state, previous = 0.0, -1
        effect = numbers['effect'][previous] if previous >= 0 else 0.0
        state = numbers['decay'] * state + float(steps.observation[row, t]) + effect
        given.append(state + float(steps.reward[row, t]) / 2)
    return given


def values(numbers: Any, state: float) -> list[float]:
    """Of both actions."""
    return [
        slope * state + bias for slope, bias in zip(numbers['slope'], numbers['bias'], strict=True)
    ]


def reference(
    numbers: Any,
    target_numbers: Any,
    sample: Sample,
    weights: Any,
    discount: float,
    n_step: int,
    burn_in: int,
    rescale: bool,
    eta: float,
    fixed: Any = None,
) -> tuple[float, list[float]]:
    """(loss, priorities). `fixed`: parameters of burn-in and targets, which `numbers` stand for otherwise.

    What has no gradient is computed with `fixed`, so that differences of the loss are the gradient.
    """
    fixed = numbers if fixed is None else fixed
    transform, inverse = (h, h_inverse) if rescale else (float, float)
    steps = sample.steps
    losses, priorities, count = 0.0, [], 0
    for row in range(len(steps.mask)):
        real = int(np.sum(steps.mask[row]))
        begins = steps.step_type[row, 0] == FIRST
        begin = 0 if begins else burn_in
        online = states(fixed, steps, row)
        target = states(target_numbers, steps, row)
        moving = states(numbers, steps, row, online[:begin])
        errors = []
        for t in range(begin, real):
            total, weight, k = 0.0, 1.0, t
            while k < min(t + n_step, real):
                total += weight * float(steps.reward[row, k + 1])
                weight *= discount * float(steps.discount[row, k + 1])
                k += 1
            best = int(np.argmax(values(fixed, online[k])))
            total += weight * inverse(values(target_numbers, target[k])[best])
            errors.append(transform(total) - values(numbers, moving[t])[int(steps.action[row, t])])
        losses += float(weights[row]) * sum(error**2 / 2 for error in errors)
        count += len(errors)
        absolute = np.abs(errors) if errors else np.zeros(1)
        priorities.append(float(eta * absolute.max() + (1 - eta) * absolute.mean()))
    return losses / max(count, 1), priorities
