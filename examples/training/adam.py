"""Adam with a one-cycle learning rate, in the dozen lines these models need."""

import jax
import jax.numpy as jnp


def initial_state(weights):
    zeros = jax.tree.map(jnp.zeros_like, weights)
    return zeros, zeros


def one_cycle(step, steps: int, peak: float):
    """Rise for a tenth of the steps, then fall along a cosine to nothing."""
    warm = 0.1 * steps
    falling = 0.5 * (1 + jnp.cos(jnp.pi * (step - warm) / (steps - warm)))
    return peak * jnp.where(step < warm, step / warm, falling)


def update(weights, gradients, state, step, rate, decay=0.0):
    """One step of decoupled weight decay; `step` counts from zero."""
    mean, square = state
    mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, gradients)
    square = jax.tree.map(lambda s, g: 0.99 * s + 0.01 * g * g, square, gradients)
    unbias_mean, unbias_square = 1 - 0.9 ** (step + 1), 1 - 0.99 ** (step + 1)

    def move(w, m, s):
        direction = (m / unbias_mean) / (jnp.sqrt(s / unbias_square) + 1e-8)
        return w - rate * (direction + decay * w)

    return jax.tree.map(move, weights, mean, square), (mean, square)
