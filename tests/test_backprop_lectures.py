"""The lectures' own numbers, sums and statements about gradients, by hand-written numpy (rows D1, D2, D4, G5, H5)."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdl import backprop


def test_linear_2_3_1_example():
    """Lecture row D2: x = (1, 1), y = 0, every weight and bias 1, loss ½(ŷ − y)²."""
    x, y = jnp.ones((1, 2)), jnp.zeros((1, 1))
    hidden, first = backprop.dense_forward(x, jnp.ones((2, 3)), jnp.ones(3))
    np.testing.assert_array_equal(hidden, [[3, 3, 3]])
    output, second = backprop.dense_forward(hidden, jnp.ones((3, 1)), jnp.ones(1))
    np.testing.assert_array_equal(output, [[10]])
    loss, last = backprop.half_squared_error_forward(output, y)
    delta, _ = backprop.half_squared_error_backward(last, jnp.ones_like(loss))
    np.testing.assert_array_equal(delta, [[10]])
    ahead, kernel, bias = backprop.dense_backward(second, delta)
    np.testing.assert_array_equal(kernel, [[30], [30], [30]])
    np.testing.assert_array_equal(bias, [10])
    _, kernel, bias = backprop.dense_backward(first, ahead)
    np.testing.assert_array_equal(kernel, np.full((2, 3), 10))
    np.testing.assert_array_equal(bias, [10, 10, 10])


def one_hidden_layer(x, y, w, v):
    """Loss and gradients of ½(v · sigmoid(wᵀx) − y)² through `backprop`."""
    z, first = backprop.dense_forward(x, w)
    a, middle = backprop.sigmoid_forward(z)
    output, second = backprop.dense_forward(a, v)
    loss, last = backprop.half_squared_error_forward(output, y)
    delta, _ = backprop.half_squared_error_backward(last, jnp.ones_like(loss))
    to_a, to_v, _ = backprop.dense_backward(second, delta)
    _, to_w, _ = backprop.dense_backward(first, backprop.sigmoid_backward(middle, to_a))
    return loss.sum(), to_w, to_v


def draw(*shapes):
    rng = np.random.default_rng(4)
    return [np.float32(rng.normal(size=shape)) for shape in shapes]


def test_chain_rule_of_one_hidden_layer():
    """∂L/∂w_ij = ∂L/∂ŷ · ∂ŷ/∂a_j · ∂a_j/∂z_j · ∂z_j/∂w_ij, factor by factor, summed over the examples."""
    x, y, w, v = draw((4, 2), (4, 1), (2, 3), (3, 1))
    _, to_w, to_v = one_hidden_layer(x, y, w, v)
    expected_w, expected_v = np.zeros((2, 3)), np.zeros((3, 1))
    for n in range(4):
        a = [1 / (1 + np.exp(-sum(w[i, j] * x[n, i] for i in range(2)))) for j in range(3)]
        error = sum(v[j, 0] * a[j] for j in range(3)) - y[n, 0]
        for j in range(3):
            expected_v[j, 0] += error * a[j]
            for i in range(2):
                expected_w[i, j] += error * v[j, 0] * a[j] * (1 - a[j]) * x[n, i]
    np.testing.assert_allclose(to_w, expected_w, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(to_v, expected_v, rtol=1e-5, atol=1e-6)


def test_errata_of_the_algorithm():
    """W − α∂E/∂W descends, the printed W + α∂E/∂W ascends, and W⁽⁰⁾ follows its own gradient (row D1)."""
    x, y, w, v = draw((4, 2), (4, 1), (2, 3), (3, 1))
    loss, to_w, to_v = one_hidden_layer(x, y, w, v)
    down, up = (one_hidden_layer(x, y, w - s * 0.01 * to_w, v - s * 0.01 * to_v)[0] for s in (1, -1))
    assert down < loss < up
    assert one_hidden_layer(x, y, w - 0.01 * to_w, v)[0] < loss


def test_delta_is_the_error_for_half_squared_error_only():
    """Behind a sigmoid, E's δ = ŷ − y lacks the factor ŷ(1 − ŷ); with cross entropy it is right (row D1)."""
    z, y = jnp.array([0.5, -1.0, 2.0]), jnp.array([1.0, 0.0, 0.0])
    p = 1 / (1 + np.exp(-np.asarray(z)))
    output, last = backprop.sigmoid_forward(z)

    def delta(forward, backward):
        return backprop.sigmoid_backward(last, backward(forward(output, y)[1], jnp.ones(3))[0])

    half = delta(backprop.half_squared_error_forward, backprop.half_squared_error_backward)
    full = delta(backprop.squared_error_forward, backprop.squared_error_backward)
    entropy = delta(backprop.binary_cross_entropy_forward, backprop.binary_cross_entropy_backward)
    np.testing.assert_allclose(half, (p - y) * p * (1 - p), rtol=1e-5)
    np.testing.assert_allclose(full, 2 * (p - y) * p * (1 - p), rtol=1e-5)
    np.testing.assert_allclose(entropy, p - y, rtol=1e-5)


def test_softmax_with_cross_entropy_step_by_step():
    """ŷ − y comes out of softmax's Jacobian times −y/ŷ; without the factor y_j, as E prints, it would not."""
    z, y = draw((2, 4))[0], np.eye(4, dtype=np.float32)[[2, 0]]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    _, residuals = backprop.softmax_forward(z)
    np.testing.assert_allclose(backprop.softmax_backward(residuals, jnp.asarray(-y / p)), p - y, rtol=1e-4, atol=1e-6)
    _, residuals = backprop.softmax_cross_entropy_forward(z, jnp.array([2, 0]))
    found, none = backprop.softmax_cross_entropy_backward(residuals, jnp.ones(2))
    np.testing.assert_allclose(found, p - y, rtol=1e-4, atol=1e-6)
    assert none is None
    printed = sum(p - np.eye(4)[j] for j in range(4))
    assert abs(printed - (p - y)).max() > 0.1


def test_convolution_as_a_matrix_has_its_transpose_as_backward():
    """With y = M x and one row per output, ∂E/∂x = Mᵀ δ; both are the lecture's sums (row D4)."""
    x, w, delta = draw((5, 6), (3, 2), (3, 5))
    matrix = np.zeros((3 * 5, 5 * 6))
    for i, j, p, q in itertools.product(range(3), range(5), range(3), range(2)):
        matrix[i * 5 + j, (i + p) * 6 + j + q] = w[p, q]
    y, residuals = backprop.conv2d_forward(x[..., None], w[..., None, None], padding="VALID")
    np.testing.assert_allclose(y.ravel(), matrix @ x.ravel(), rtol=1e-5, atol=1e-5)
    to_x, to_w, _ = backprop.conv2d_backward(residuals, jnp.asarray(delta)[..., None])
    np.testing.assert_allclose(to_x.ravel(), matrix.T @ delta.ravel(), rtol=1e-5, atol=1e-5)
    sums_w, sums_x = np.zeros((3, 2)), np.zeros((5, 6))
    for m, n in itertools.product(range(3), range(2)):
        sums_w[m, n] = sum(x[m + p, n + q] * delta[p, q] for p in range(3) for q in range(5))
    # p and q end at k − 1: the lecture's k would read past the kernel
    for m, n, p, q in itertools.product(range(5), range(6), range(3), range(2)):
        if 0 <= m - p < 3 and 0 <= n - q < 5:
            sums_x[m, n] += w[p, q] * delta[m - p, n - q]
    np.testing.assert_allclose(to_w[..., 0, 0], sums_w, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(to_x[..., 0], sums_x, rtol=1e-5, atol=1e-5)


def test_pools_of_the_worked_example():
    """The maxima 6, 8, 3, 4 take the gradient; neither one of the first window does (row H5)."""
    x = jnp.array([[1.0, 1, 2, 4], [5, 6, 7, 8], [3, 2, 1, 0], [1, 2, 3, 4]])[..., None]
    delta = jnp.array([[1.0, 2], [3, 4]])[..., None]
    y, residuals = backprop.max_pool2d_forward(x)
    np.testing.assert_array_equal(y[..., 0], [[6, 8], [3, 4]])
    found = backprop.max_pool2d_backward(residuals, delta)[..., 0]
    np.testing.assert_array_equal(found, [[0, 0, 0, 0], [0, 1, 0, 2], [3, 0, 0, 0], [0, 0, 0, 4]])
    y, residuals = backprop.avg_pool2d_forward(x)
    np.testing.assert_array_equal(y[..., 0], [[3.25, 5.25], [2, 2]])
    quarters = np.kron([[1, 2], [3, 4]], np.ones((2, 2))) / 4
    np.testing.assert_array_equal(backprop.avg_pool2d_backward(residuals, delta)[..., 0], quarters)


def test_batch_norm_in_full_is_the_papers_six_lines():
    """Ioffe and Szegedy's ∂/∂x̂, ∂/∂σ², ∂/∂μ, ∂/∂x, ∂/∂γ, ∂/∂β in numpy; the closed form and the parts agree."""
    x, gamma, beta, delta = draw((6, 3), (3,), (3,), (6, 3))
    m, eps = 6, 1e-5
    mu, var = x.mean(0), x.var(0)
    hat = (x - mu) / np.sqrt(var + eps)
    to_hat = delta * gamma
    to_var = (to_hat * (x - mu)).sum(0) * -0.5 * (var + eps) ** -1.5
    to_mu = -(to_hat / np.sqrt(var + eps)).sum(0) + to_var * (-2 * (x - mu)).sum(0) / m
    to_x = to_hat / np.sqrt(var + eps) + to_var * 2 * (x - mu) / m + to_mu / m
    _, residuals = backprop.batch_norm_train_forward(x, gamma, beta)
    found = backprop.batch_norm_train_backward(residuals, jnp.asarray(delta))
    for a, b in zip(found, (to_x, (delta * hat).sum(0), delta.sum(0)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    (mean, variance), statistics = backprop.batch_statistics_forward(x)
    _, normalised = backprop.batch_norm_forward(x, mean, variance, gamma, beta)
    direct, to_mean, to_variance, *_ = backprop.batch_norm_backward(normalised, jnp.asarray(delta))
    through = backprop.batch_statistics_backward(statistics, (to_mean, to_variance))
    np.testing.assert_allclose(to_variance, to_var, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(direct + through, to_x, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[0].sum(0), np.zeros(3), atol=1e-5)  # a bias before batch norm has the gradient 0


@pytest.mark.parametrize("batch", [1, 3, 8, 19])
def test_the_kernels_gradient_is_the_same_by_every_method(batch):
    """Unequal slices, and fewer examples than slices, equal the sum over windows in numpy."""
    x, kernel, delta = draw((batch, 6, 5, 4), (3, 2, 2, 6), (batch, 3, 5, 6))
    options = {"stride": (2, 1), "padding": "SAME", "groups": 2}
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    expected = np.zeros_like(kernel)
    for i, j, p, q, o in itertools.product(range(3), range(5), range(3), range(2), range(6)):
        group = slice(0, 2) if o < 3 else slice(2, 4)
        expected[p, q, :, o] += delta[:, i, j, o] @ padded[:, 2 * i + p, j + q, group]
    _, residuals = backprop.conv2d_forward(x, kernel, **options)
    for method in ("xla", "sliced", "patches", "folded", "blocked", "padded"):
        found = backprop.conv2d_backward(residuals, jnp.asarray(delta), method=method)[1]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4, err_msg=method)
