"""Data for heads, and the textbook objective of a head with one row per class, by automatic differentiation."""

import numpy as np
import torch


def made_data(n, d, classes, seed=0, shift=1.0):
    """Return features and labels; every class has two examples or more."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), np.arange(classes), rng.integers(0, classes, n - 2 * classes)])
    centres = shift * rng.standard_normal((classes, d))
    return rng.standard_normal((n, d)) + centres[labels], labels


def rows_per_class(head):
    """Return weight and bias of one row per class, flat: two classes get rows (0, w), as their logits are (0, z)."""
    weight, bias = np.asarray(head.weight), np.asarray(head.bias)
    if len(weight) == 1:
        weight, bias = np.vstack([0 * weight, weight]), np.append(0.0, bias)
    return torch.from_numpy(np.append(weight.ravel(), bias))


def objective(features, labels, l2, classes, left_out=None):
    """Return the objective as a function of the flat weights and biases, with one example left out."""
    kept = np.arange(len(labels)) != (-1 if left_out is None else left_out)
    inputs, targets = torch.from_numpy(np.asarray(features)[kept]), torch.from_numpy(np.asarray(labels)[kept])

    def value(flat):
        weight, bias = flat[:-classes].view(classes, -1), flat[-classes:]
        loss = torch.nn.functional.cross_entropy(inputs @ weight.T + bias, targets, reduction="sum")
        return loss + l2 / 2 * weight.square().sum()

    return value


def slopes(value, flat, d, intercept):
    """Return the gradient by the weights, and the biases if there are any; of two classes by the row of class 1."""
    gradient = torch.func.grad(value)(flat)
    classes = len(flat) // (d + 1)
    weight, bias = gradient[:-classes].view(classes, d), gradient[-classes:]
    first = 1 if classes == 2 else 0
    return torch.cat([weight[first:].flatten(), bias[first:] if intercept else bias[:0]])
