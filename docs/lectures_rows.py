"""The contents of `docs/lectures.md`: the topics of the lectures, and their places in jaxdl.

One Row per id that docstrings cite as "Lecture row X". Functions are paths within `jaxdl`; tests are `module::name`
within `tests`. A row without functions is an experiment. `tests/test_lectures_page.py` holds all of this to the code.
"""

from typing import NamedTuple

__all__ = ["ERRATA", "LECTURES", "ROWS", "Row"]


class Row(NamedTuple):
    """One line of the page; an experiment has neither functions nor oracle nor tests."""

    id: str
    title: str
    formula: str = ""
    functions: str = ""  # separated by spaces
    oracle: str = ""
    tests: str = ""  # separated by spaces
    experiments: str = ""  # separated by spaces: those that measure it beside the ones whose claims cite its id


LECTURES = {
    "P": "PClub, deep-learning course CS2020, weeks 1 to 5",
    "M": "MIT 15.S60, deep-learning session",
    "C": "CCE, practical considerations of deep learning",
    "E": "ENEE4584, basics of deep learning",
    "S": "CS182, convolutional networks",
}

ROWS = [
    Row(
        "A1",
        "Linear regression with any number of features, by gradient descent and in closed form",
        "J(θ) = 1/(2m) Σ (θᵀx − y)², θ ← θ − α ∇J",
        "classical.linear_regression",
        "scikit-learn on the diabetes data, a numpy loop",
        "test_classical::test_linear_regression_equals_sklearn_on_diabetes "
        "test_classical::test_linear_gradient_descent_makes_the_lectures_steps",
    ),
    Row(
        "A2",
        "Logistic and softmax regression; without a penalty, separable data has no optimum, which the fit says",
        "min mean BCE(wᵀx + b, y) + ‖w‖² / (2 C m)",
        "classical.logistic_regression classical.softmax_regression models.softmax_regression",
        "scikit-learn on the breast cancer and digits data, linear programming",
        "test_classical::test_logistic_regression_equals_sklearn_on_breast_cancer "
        "test_classical::test_softmax_regression_equals_sklearn_on_digits "
        "test_classical::test_separability_agrees_with_linear_programming",
    ),
    Row(
        "A3",
        "The perceptron, with its number of mistakes and its margin",
        "if y(wᵀx + b) ≤ 0: w ← w + y x, b ← b + y",
        "classical.perceptron losses.perceptron",
        "a numpy loop, scikit-learn, Novikoff's bound",
        "test_classical::test_perceptron_converges_on_separable_digits",
    ),
    Row(
        "A4",
        "Multi-output perceptron, hidden layers, nets of any depth",
        "z = Wᵀa + b, a = g(z)",
        "layers.dense nn.Dense models.mlp",
        "numpy's product, flax.linen, nets written out",
        "test_layers_linear::test_dense_is_the_matrix_product "
        "test_models::test_an_mlp_applies_g_after_each_hidden_layer",
    ),
    Row(
        "A5",
        "Why non-linear: a deep linear net is one linear map",
        "W = W₁W₂…W_L, b = (b₁W₂ + b₂)W₃ + …",
        "classical.deep_linear classical.collapse_linear",
        "integer matrices multiplied by numpy, exactly",
        "test_classical::test_deep_linear_net_is_one_linear_map_exactly",
    ),
    Row(
        "A6",
        "Why deep: linear regions of deep and shallow ReLU nets; error against depth and amount of data",
        "∏_{l<L} ⌊n_l / n₀⌋^n₀ · Σ_{j≤n₀} C(n_L, j) regions, against Σ_{j≤n₀} C(n, j) of one layer",
        "analysis.linear_regions analysis.region_bounds analysis.folding_layers",
        "networks worked by hand, kinks seen on a dense grid, the published bounds",
        "test_regions::test_networks_by_hand test_regions::test_kinks_are_where_a_dense_grid_shows_them "
        "test_regions::test_a_folding_network_reaches_the_bound_on_the_unit_interval",
    ),
    Row("A7", "Representation: the same data in Cartesian and polar coordinates; errors of values and of logarithms"),
    Row(
        "A8",
        "Recurrent cells and the decay of information through time",
        "h_t = g(x_t W + h_{t−1} U + b)",
        "layers.rnn_cell layers.rnn layers.lstm_cell layers.lstm",
        "the recursion in numpy, flax.linen, powers of a linear cell",
        "test_layers_recurrent::test_rnn_is_the_recursion "
        "test_layers_recurrent::test_lstm_is_flaxs_with_its_gradient "
        "test_layers_recurrent::test_gradients_through_time_vanish_and_explode",
    ),
    Row(
        "B",
        "Activations, their derivatives, ranges, limits and saturation",
        "σ′ = a(1 − a), tanh′ = 1 − a², tanh z = 2σ(2z) − 1, softplus′ = σ, ELU = β(eᶻ − 1) below 0",
        "activations.linear activations.threshold activations.sigmoid activations.tanh activations.relu "
        "activations.leaky_relu activations.noisy_relu activations.elu activations.softplus activations.softmax "
        "activations.log_softmax activations.relu6 activations.gelu activations.swish analysis.saturation "
        "analysis.dead_units",
        "formulas in numpy and scipy, worked numbers",
        "test_activations::test_value_and_derivative_equal_the_formula "
        "test_activations::test_saturation_numbers_of_the_lecture "
        "test_saturation::test_share_of_saturated_units_by_the_closed_form_of_each_derivative "
        "test_saturation::test_dead_units_by_hand",
    ),
    Row(
        "C1",
        "Squared, half squared and absolute error",
        "(ŷ − y)², ½(ŷ − y)², |ŷ − y|",
        "losses.squared_error losses.half_squared_error losses.absolute_error",
        "worked numbers",
        "test_losses::test_c1_worked_numbers",
    ),
    Row(
        "C2",
        "Binary cross entropy of probabilities and of logits",
        "−y ln p − (1 − y) ln(1 − p)",
        "losses.binary_cross_entropy losses.sigmoid_binary_cross_entropy",
        "a worked number, scikit-learn, optax",
        "test_losses::test_c2_worked_number_and_its_printed_base_10_form "
        "test_losses::test_binary_cross_entropy_equals_sklearn_and_optax "
        "test_losses::test_binary_cross_entropy_of_a_logit_is_softmax_cross_entropy_of_two",
    ),
    Row(
        "C3",
        "Cross entropy of logits, of log-probabilities, and with smoothed labels",
        "−Σ_k y_k ln softmax(z)_k",
        "losses.softmax_cross_entropy losses.nll",
        "optax",
        "test_losses::test_softmax_cross_entropy_equals_optax test_losses::test_label_smoothing_equals_optax",
    ),
    Row(
        "C4",
        "Squared error of logarithms",
        "(ln ŷ − ln y)²",
        "losses.squared_log_error",
        "closed form",
        "test_losses::test_squared_log_error_is_scale_free_and_undefined_at_zero",
    ),
    Row(
        "C5",
        "Margin loss of capsules, hinge and perceptron loss",
        "Σ_k y_k max(0, m⁺ − v_k)² + λ(1 − y_k) max(0, v_k − m⁻)²; max(0, 1 − yf); max(0, −yf)",
        "losses.margin losses.hinge losses.perceptron",
        "a loop, optax",
        "test_losses::test_margin_equals_the_formula_written_as_a_loop "
        "test_losses::test_hinge_and_perceptron_equal_optax_and_move_off_zero",
    ),
    Row(
        "C6",
        "Penalties on weights, without biases, and the proximal step of L1",
        "λ/m Σ|w|, λ/(2m) Σw², sgn(w) max(0, |w| − t)",
        "regularizers.l1 regularizers.l2 regularizers.weight_decay regularizers.elastic_net "
        "regularizers.soft_threshold regularizers.weights_mask optimizers.add_decayed_weights optimizers.proximal_l1",
        "values by hand, scikit-learn's elastic net",
        "test_regularizers::test_values_by_hand test_regularizers::test_steps_of_the_lecture "
        "test_regularizers::test_elastic_net_has_sklearns_optimum",
    ),
    Row(
        "C7",
        "Accuracy, top-k, confusion matrix, precision, recall, F1, calibration",
        "hits / count",
        "metrics.accuracy metrics.top_k_accuracy metrics.top_k_classes metrics.rank_of_label "
        "metrics.confusion_matrix metrics.scores metrics.calibration_bins metrics.calibration_error",
        "scikit-learn, a loop",
        "test_metrics::test_accuracy_and_top_k_equal_sklearn "
        "test_metrics::test_confusion_matrix_and_scores_equal_sklearn "
        "test_metrics::test_calibration_error_equals_a_loop",
    ),
    Row(
        "D1",
        "Gradients written by hand, for the layers, activations and losses of the lectures' backpropagation",
        "forward(…) → (output, residuals), backward(residuals, cotangent) → cotangents",
        "backprop.dense_backward backprop.softmax_cross_entropy_backward backprop.squared_error_backward "
        "backprop.binary_cross_entropy_backward backprop.conv1d_backward backprop.conv2d_backward "
        "backprop.max_pool2d_backward backprop.avg_pool2d_backward backprop.l2_pool2d_backward "
        "backprop.batch_norm_train_backward backprop.local_response_norm_backward backprop.dropout_backward "
        "backprop.install layers.max_pool2d_argmax layers.max_unpool2d",
        "jax.vjp of the forward functions, finite differences",
        "test_backprop::test_equals_the_namesakes_gradient test_backprop::test_equals_finite_differences "
        "test_backprop_lectures::test_errata_of_the_algorithm",
    ),
    Row(
        "D2",
        "The linear 2-3-1 net worked by hand, and the chain rule of one hidden layer",
        "δ = ŷ − y, ∂L/∂W = a δᵀ",
        "backprop.dense_backward backprop.half_squared_error_backward losses.half_squared_error",
        "worked numbers",
        "test_backprop_lectures::test_linear_2_3_1_example test_backprop_lectures::test_chain_rule_of_one_hidden_layer",
    ),
    Row(
        "D3",
        "Gradient checking, with kinks told apart from bugs",
        "(f(x + h) − f(x − h)) / 2h",
        "gradcheck.check_grad gradcheck.assert_grad",
        "planted bugs, and right gradients that must pass",
        "test_gradcheck::test_planted_bugs_are_found test_gradcheck::test_no_false_alarm_on_the_right_gradients",
    ),
    Row(
        "D4",
        "Convolution as a matrix, whose backward is the transpose",
        "∂E/∂w[m, n] = Σ x[m + p, n + q] ∂E/∂y[p, q]",
        "backprop.conv2d_backward kernels.compute",
        "the matrix written out; LeNet-5 trained by autodiff",
        "test_backprop_lectures::test_convolution_as_a_matrix_has_its_transpose_as_backward "
        "test_backprop_lenet::test_lenet_on_hand_written_gradients_follows_autodiff",
    ),
    Row("D5", "Vanishing and exploding gradients: norm per layer, activation, initialiser and kind of net"),
    Row(
        "E1",
        "Gradient descent on all, one or some examples",
        "w ← w − α g",
        "optimizers.sgd optimizers.accumulate data.batches data.steps_per_epoch",
        "optax, PyTorch, Keras, one large batch",
        "test_conventions::test_equals_the_framework "
        "test_optimizers_wrapping::test_accumulating_parts_equals_one_large_batch",
    ),
    Row(
        "E2",
        "Momentum in three forms, and when they are one algorithm",
        "v ← βv + (1 − β)g; v ← βv + g; V ← βV − αg",
        "optimizers.momentum optimizers.sgd",
        "optax, PyTorch, Keras, the printed formulas",
        "test_conventions::test_momentum_forms_are_one_algorithm_only_under_the_stated_maps "
        "test_conventions::test_equals_the_printed_formula "
        "test_claims::test_momentum_equals_its_average_form_after_rescaling",
    ),
    Row(
        "E3",
        "Nesterov's momentum, at the point looked ahead to and rewritten",
        "V ← βV − α∇J(W + βV), W ← W + V",
        "optimizers.nesterov optimizers.gradient_point",
        "PyTorch, Keras, the printed formulas",
        "test_conventions::test_nesterov_s_published_form_is_the_rewritten_one_at_the_looked_ahead_point "
        "test_conventions::test_the_nesterov_loop_that_ENEE4584_prints_is_plain_momentum_rotated",
    ),
    Row(
        "E4",
        "AdaGrad",
        "r ← r + g², w ← w − αg / (√r + ε)",
        "optimizers.adagrad",
        "optax, PyTorch, Keras, the printed formulas",
        "test_optimizers::test_a_thousand_steps_equal_optax test_conventions::test_equals_the_printed_formula "
        "test_claims::test_adagrad_s_rate_decays_to_zero_and_rmsprop_s_does_not",
    ),
    Row(
        "E5",
        "RMSProp, ε inside and outside the root, centred, with momentum",
        "r ← ρr + (1 − ρ)g², w ← w − αg / (√r + ε)",
        "optimizers.rmsprop",
        "optax, PyTorch, Keras, the printed formulas",
        "test_optimizers::test_a_thousand_steps_equal_optax test_conventions::test_equals_the_printed_formula "
        "test_claims::test_adagrad_s_rate_decays_to_zero_and_rmsprop_s_does_not",
    ),
    Row(
        "E6",
        "Adam, with and without bias correction",
        "m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ), w ← w − α m̂ / (√v̂ + ε)",
        "optimizers.adam",
        "optax, PyTorch, Keras, the printed formulas",
        "test_optimizers::test_a_thousand_steps_equal_optax test_conventions::test_equals_the_printed_formula "
        "test_conventions::test_adam_s_epsilons_map_into_each_other_only_step_by_step "
        "test_claims::test_almost_adam_steps_too_far_at_first",
    ),
    Row(
        "E7",
        "Relatives and successors of Adam; decoupled decay against the L2 penalty",
        "w ← w − α (m̂ / (√v̂ + ε) + λw)",
        "optimizers.adamw optimizers.adamax optimizers.nadam optimizers.amsgrad optimizers.adadelta "
        "optimizers.radam optimizers.lion optimizers.lars optimizers.lamb optimizers.muon optimizers.lookahead",
        "optax, PyTorch, Keras",
        "test_optimizers::test_a_thousand_steps_equal_optax test_conventions::test_equals_the_framework "
        "test_optimizers_wrapping::test_decay_before_adam_is_the_l2_penalty_and_adamw_is_not",
    ),
    Row(
        "E8",
        "Second order: Newton, damped Gauss-Newton, Newton-CG, L-BFGS, natural gradient, diagonals; saddle points",
        "w ← w − (H + λI)⁻¹ g",
        "optimizers.newton optimizers.gauss_newton optimizers.newton_cg optimizers.lbfgs optimizers.natural_gradient "
        "optimizers.hessian_product optimizers.gauss_newton_product optimizers.fisher_product "
        "optimizers.hutchinson_diagonal",
        "dense matrices, closed forms, enumerated scores, the Rosenbrock function",
        "test_second_order::test_products_equal_the_dense_matrices "
        "test_second_order::test_the_fisher_matrix_is_the_expected_product_of_scores "
        "test_second_order::test_at_a_saddle_newton_stays_and_newton_cg_descends "
        "test_claims::test_all_leave_a_saddle_and_momentum_leaves_it_sooner "
        "test_quasi_newton::test_rosenbrock_reaches_its_minimum_and_never_climbs",
    ),
    Row(
        "E9",
        "Exponentially weighted average, with and without bias correction",
        "v ← βv + (1 − β)x, v / (1 − βᵗ)",
        "optimizers.exponential_average optimizers.ema",
        "the weighted mean written out",
        "test_optimizers_wrapping::test_exponential_average_is_the_weighted_mean",
    ),
    Row(
        "E10",
        "Learning rates that change, warm-up, range test, rates per group",
        "α_t = α₀ · s(t)",
        "schedules.constant schedules.step schedules.polynomial schedules.linear schedules.exponential "
        "schedules.cosine schedules.one_cycle schedules.inverse_time schedules.inverse_sqrt "
        "schedules.warmup schedules.joined schedules.range_test optimizers.partition optimizers.scale_by_group "
        "training.find_rate training.suggest_rate",
        "optax, closed forms",
        "test_schedules::test_equals_the_optax_namesake test_schedules::test_equals_the_closed_form "
        "test_optimizers_wrapping::test_groups_have_rates_of_their_own "
        "test_rates::test_the_rate_of_the_steepest_fall_is_found",
    ),
    Row(
        "E11",
        "Gradient clipping by value, norm and block",
        "g · min(1, c / ‖g‖)",
        "optimizers.clip_by_value optimizers.clip_by_norm optimizers.clip_by_global_norm "
        "optimizers.clip_by_block_rms optimizers.adaptive_grad_clip",
        "optax, bounds",
        "test_optimizers_wrapping::test_equals_optax test_optimizers_wrapping::test_clip_by_norm_bounds_each_array",
    ),
    Row(
        "E12",
        "Averages of the parameters, for evaluation",
        "x_test ← .995 x_test + .005 x",
        "optimizers.polyak_average optimizers.tail_average optimizers.averaged_params training.reestimate_batch_norm",
        "means of the recorded parameters and of the batches' statistics",
        "test_optimizers_wrapping::test_polyak_and_tail_averages_are_the_averages_of_the_parameters "
        "test_training_batch_norm::test_statistics_are_the_mean_of_the_batches_own",
    ),
    Row(
        "E13",
        "The elongated bowl: paths across and along it, and the largest rate that is stable",
        "αλ < 2; 2(1 + β) heavy ball; 2(1 + β)/(1 − β) average; 2(1 + β)/(1 + 2β) Nesterov",
        "studies.descent_path studies.largest_stable_rate studies.landscape_problem",
        "spectral radius, the geometric path of plain descent",
        "test_claims::test_largest_stable_rate_is_that_of_the_spectral_radius "
        "test_claims::test_momentum_damps_oscillation_and_allows_a_larger_rate",
    ),
    Row(
        "F",
        "Initial weights: variance rules, gains, orthogonal and constant",
        "variance gain / n; uniform ±√(6 / (n_in + n_out))",
        "initializers.normal initializers.uniform initializers.truncated_normal initializers.variance_scaling "
        "initializers.lecun_normal initializers.lecun_uniform initializers.he_normal initializers.he_uniform "
        "initializers.glorot_normal initializers.glorot_uniform initializers.orthogonal initializers.constant "
        "initializers.gain initializers.fans",
        "moments with statistical bounds, scipy, jax.nn.initializers",
        "test_initializers::test_moments_of_every_named_rule test_initializers::test_bounds_of_the_uniform_rules "
        "test_initializers::test_a_constant_start_never_breaks_the_symmetry",
    ),
    Row(
        "G1",
        "L1, L2 and decay while training",
        "w ← (1 − αλ/m) w − α g",
        "regularizers.l1 regularizers.l2 optimizers.add_decayed_weights",
        "closed forms, exact zeros counted",
        "test_regularizers::test_l1_gives_exact_zeros_and_l2_shrinks",
    ),
    Row(
        "G2",
        "Early stopping on development data",
        "stop after `patience` epochs without a better value",
        "training.EarlyStopping",
        "sequences worked by hand",
        "test_training_loop::test_early_stopping",
    ),
    Row(
        "G3",
        "Dropout, as drawn and inverted, on units, channels and as Gaussian noise",
        "x · mask / (1 − rate)",
        "layers.dropout layers.spatial_dropout layers.gaussian_dropout nn.Dropout regularizers.max_norm "
        "optimizers.max_norm",
        "exact distribution of the mask, moments, the ball's nearest point",
        "test_layers_stochastic::test_dropout_keeps_scaled_or_as_drawn "
        "test_layers_stochastic::test_gaussian_dropout_has_the_moments_of_dropout "
        "test_regularizers::test_max_norm_is_the_nearest_point_of_the_ball",
    ),
    Row(
        "G4",
        "Noise on weights and states",
        "with probability 1 − τ: αw + (α − 1)c·sgn(w), else −c·sgn(w), α = 1/(1 − τ)",
        "layers.dropconnect layers.zoneout layers.shakeout layers.whiteout",
        "exact distributions, moments of noise drawn connection by connection",
        "test_layers_stochastic::test_shakeout_enhances_or_reverses "
        "test_layers_stochastic::test_whiteout_has_the_moments_of_noise_on_each_connection "
        "test_layers_stochastic::test_zoneout_keeps_old_values",
    ),
    Row(
        "G5",
        "Batch norm over any axes, and its relatives",
        "γ (x − μ) / √(σ² + ε) + β",
        "layers.batch_norm layers.batch_statistics layers.layer_norm layers.group_norm layers.instance_norm "
        "nn.BatchNorm analysis.percentiles",
        "flax.linen, numpy",
        "test_layers_normalization::test_batch_norm_in_training_is_flaxs_with_its_gradient "
        "test_layers_normalization::test_the_lecture_says_when_batch_norm_is_the_identity_and_that_a_bias_is_lost "
        "test_saturation::test_percentiles_are_numpys_and_those_of_the_normal_distribution",
    ),
    Row(
        "G6",
        "Inputs normalised with the training part's statistics",
        "(x − μ_train) / σ_train",
        "data.fit_normalization data.normalize data.standardize analysis.condition_number",
        "numpy",
        "test_data_normalization::test_statistics_are_numpys_and_inputs_become_standard "
        "test_curvature::test_the_condition_number_of_a_quadratic_is_that_of_its_matrix",
    ),
    Row(
        "G7",
        "Augmentation on the device",
        "f(key, image)",
        "data.augmentation.rotate data.augmentation.scale data.augmentation.translate data.augmentation.flip "
        "data.augmentation.crop data.augmentation.noise data.augmentation.cutout data.augmentation.mixup",
        "scipy.ndimage, numpy, distributions",
        "test_data_augmentation::test_warp_is_scipys_affine_transform "
        "test_data_augmentation::test_amounts_have_the_documented_distributions",
    ),
    Row(
        "G8",
        "Ensembles that average or vote; dropout as an ensemble of 2^D nets, exact for linear ones",
        "log 1/m Σ_i softmax(z_i); E[f(x · mask)] = f(x · (1 − rate))",
        "metrics.average_members metrics.majority_vote layers.dropout",
        "members worked by hand; all 2⁴ nets enumerated",
        "test_metrics::test_members_are_averaged_as_probabilities_and_vote "
        "test_layers_stochastic::test_dropout_is_an_ensemble_of_linear_nets",
    ),
    Row(
        "G9",
        "Training, development and test parts, stratified and seeded",
        "shares of every class alike",
        "data.split data.batches",
        "counts",
        "test_data_splits::test_parts_are_stratified_disjoint_and_complete",
    ),
    Row("G10", "Bias and variance: learning curves, their diagnosis, the decomposition by resampling"),
    Row(
        "G11",
        "Transfer: a trained trunk under a new head, frozen or at a tenth of the rate; the four cells by "
        "`python -m experiments.transfer`",
        "g = 0 on frozen layers, η/10 on fine-tuned ones",
        "applications.transfer.with_head applications.transfer.start applications.transfer.hold "
        "applications.transfer.by_path optimizers.freeze optimizers.scale_by_group nn.replace",
        "groups worked by hand, optax's plain step, outputs of the parts kept",
        "test_transfer::test_each_parameter_moves_by_its_own_rate_and_frozen_parts_not_at_all "
        "test_transfer::test_the_experiment_fills_its_folder "
        "test_optimizers_wrapping::test_groups_have_rates_of_their_own "
        "test_nn_trees::test_replace_keeps_the_rest_and_its_params_valid",
    ),
    Row(
        "G12",
        "Search of hyperparameters and of architectures",
        "the best of n random trials is in the best 5 % with probability 1 − .95ⁿ; Σ softmax(α)ᵢ oᵢ(x)",
        "applications.search.grid applications.search.random applications.search.successive_halving "
        "applications.search.evolution applications.relaxation.mixed applications.relaxation.filter_mask "
        "applications.relaxation.unrolled_gradient",
        "worked rounds, closed forms of distributions, the example of the paper",
        "test_search::test_a_grid_is_made_of_the_middles_of_equal_shares "
        "test_search::test_the_best_of_n_draws_is_among_the_best_twentieth_with_the_known_probability "
        "test_search::test_halving_by_hand "
        "test_search::test_parents_have_the_ranks_of_the_best_of_draws_with_replacement "
        "test_relaxation::test_masks_fade_the_filters_that_only_wider_candidates_have "
        "test_relaxation::test_the_unrolled_gradient_of_the_paper_s_example",
    ),
    Row(
        "H1",
        "Convolution in one dimension",
        "y[n] = Σ_i x[n + i] w[i]",
        "layers.conv1d layers.convolve1d",
        "worked numbers, scipy.signal",
        "test_layers_convolution::test_conv1d_of_the_lecture test_layers_convolution::test_convolve_is_scipys",
    ),
    Row(
        "H2",
        "Cross-correlation and true convolution in two dimensions",
        "y[p, q] = Σ x[p + m, q + n] w[m, n]",
        "layers.conv2d layers.convolve2d layers.conv_transpose2d",
        "worked numbers, a numpy loop, scipy.signal",
        "test_layers_convolution::test_worked_cross_correlations test_layers_convolution::test_worked_full_convolution "
        "test_layers_convolution::test_conv2d_is_the_loop",
    ),
    Row(
        "H3",
        "Sizes, parameters and receptive fields",
        "⌊(n + 2p − k)/s⌋ + 1; f·f·c_in·c_out + c_out",
        "sizes.output_length sizes.conv_parameters sizes.receptive_field",
        "worked numbers, places counted one by one",
        "test_sizes::test_the_lectures_sizes test_sizes::test_output_length_counts_the_places_of_the_window",
    ),
    Row(
        "H4",
        "Filters on a real image, feature maps of a net, X or not X",
        "y[i, j, c] = Σ x[i + p, j + q, c] w[p, q]",
        "layers.filters.apply layers.filters.sharpen layers.filters.edge layers.filters.strong_edge "
        "layers.filters.sobel layers.filters.gaussian layers.filters.moving_average layers.filters.diagonal "
        "analysis.feature_maps",
        "scipy.ndimage, the worked 9×9 X, a network run layer by layer",
        "test_filters::test_they_are_scipys_filters test_filters::test_the_worked_x "
        "test_filters::test_feature_maps_are_the_intermediate_results",
    ),
    Row(
        "H5",
        "Pooling: maximum, average, L2 norm, weighted, global; unpooling",
        "max, mean, √Σx², Σwx over windows",
        "layers.max_pool2d layers.avg_pool2d layers.l2_pool2d layers.weighted_pool2d layers.global_avg_pool2d "
        "layers.global_max_pool2d layers.max_pool2d_argmax layers.max_unpool2d",
        "worked numbers, a numpy loop",
        "test_layers_pooling::test_worked_example "
        "test_layers_pooling::test_max_pool_its_gradient_and_its_argmax_are_the_loops "
        "test_layers_pooling::test_where_max_fails_and_where_average_fails",
    ),
    Row(
        "H6",
        "Parameters of dense against convolutional layers",
        "n_in · n_out + n_out",
        "sizes.dense_parameters sizes.conv_parameters sizes.dense_multiply_adds",
        "worked numbers",
        "test_sizes::test_the_lectures_dense_layers",
    ),
    Row(
        "H7",
        "Invariance of dense and convolutional nets to shifts, scale, occlusion, permuted pixels",
        "accuracy on change(x, amount)",
        "analysis.robustness",
        "worked shifts of one bright pixel",
        "test_filters::test_robustness_counts_the_shift_that_leaves_the_image",
    ),
    Row(
        "H8",
        "Local response and local contrast normalisation",
        "x / (k + α Σ x²)^β over neighbouring channels",
        "layers.local_response_norm layers.local_contrast_norm models.alexnet_2012",
        "loops over the papers' sums",
        "test_layers_normalization::test_local_response_norm_is_the_papers_sum "
        "test_layers_normalization::test_local_contrast_norm_is_the_loop "
        "test_zoo_parts::test_alexnet_s_order_of_norm_and_pool",
    ),
    Row(
        "I",
        "The network zoo: the lectures' nets, LeNet-5 (also of 1998), AlexNet, VGG, GoogLeNet, ResNet, DenseNet, "
        "CapsNet, MobileNet, Inception-v4, Inception-ResNet-v2, Darknet-53 and YOLOv3",
        "exact numbers of parameters, layer by layer",
        "models.lecture_keras models.lecture_torch models.cifar_demo models.lenet5 models.lenet5_1998 models.alexnet "
        "models.alexnet_2012 models.vgg16 models.vgg19 models.googlenet models.resnet50 models.resnet152 "
        "models.resnet20 models.resnet110 models.plain20 models.densenet121 models.densenet40 models.densenet_bc100 "
        "models.capsnet models.mobilenet models.inception_v4 models.inception_resnet_v2 models.darknet53 models.yolov3 "
        "layers.squash "
        "layers.dynamic_routing "
        "analysis.summary analysis.count_parameters analysis.linear_probe interop.load interop.to_torch",
        "published counts and multiply-adds, the lecture's table, logits of torchvision and Keras, the paper's routing "
        "in numpy, scikit-learn's ridge regression",
        "test_models::test_parameter_counts_are_exact test_models::test_shapes_layer_by_layer "
        "test_layers_capsule::test_dynamic_routing_is_the_papers_procedure "
        "test_zoo::test_a_full_network_is_as_published test_zoo_parts::test_capsule_loss_by_hand "
        "test_summary::test_the_lecture_s_table_of_vgg16_row_by_row "
        "test_summary::test_the_lecture_s_totals_and_its_erratum "
        "test_probing::test_scores_are_those_of_ridge_regression_on_standardised_features "
        "test_interop::test_logits_are_those_of_the_source_and_the_export_goes_back",
    ),
    Row(
        "J",
        "Applications: adversarial images, style transfer, colourisation, several heads on one backbone",
        "x + ε sign(∇ₓ L); IoU = |A ∩ B| / |A ∪ B|; L* = 116 f(Y/Yₙ) − 16; Σ (G − A)² / (4 N²)",
        "applications.adversarial.fgsm applications.adversarial.pgd applications.adversarial.adversarial_loss "
        "applications.detection.decode_boxes applications.detection.box_targets applications.detection.iou "
        "applications.detection.non_max_suppression applications.detection.match "
        "applications.detection.average_precision applications.detection.box_loss models.yolov3 "
        "applications.colorization.rgb_to_lab applications.colorization.lab_to_rgb "
        "applications.colorization.annealed_mean applications.colorization.colorfulness "
        "applications.style_transfer.gram applications.style_transfer.content_loss "
        "applications.style_transfer.style_loss applications.style_transfer.total_variation "
        "applications.style_transfer.stylize applications.style_transfer.vgg19_features",
        "the best change of a linear model, boxes worked by hand, loops over the rules, published values of the "
        "primaries, the papers' sums and gradient",
        "test_adversarial::test_fgsm_of_a_linear_model_is_the_worst_of_all_changes "
        "test_detection::test_overlaps_by_hand test_detection::test_outputs_are_decoded_as_by_hand "
        "test_detection::test_suppression_by_hand_and_by_a_loop test_detection::test_average_precision_by_hand "
        "test_colorization::test_primaries_have_the_published_values "
        "test_style_transfer::test_losses_are_the_papers_sums "
        "test_style_transfer::test_the_gradient_of_style_is_the_papers",
    ),
    Row("K1", "Nets on tables: one real output, one logit", experiments="tabular"),
    Row(
        "K2",
        "A CNN beside hand-made features: nearest neighbours, support vectors and forests",
        experiments="cnn_against_mlp",
    ),
    Row(
        "K3",
        "ReLU beside tanh and sigmoid, dead units, unsupervised pre-training",
        experiments="activations initialization",
    ),
    Row(
        "K4",
        "What a linear probe reads of the label along depth; noise under pools; training under all conditions",
        experiments="depth filters augmentation",
    ),
    Row(
        "K5",
        "Where momentum hurts; the noise of a batch's gradient; the error on new data",
        experiments="optimizers_2d batch_size bias_variance",
    ),
    Row(
        "K6",
        "The optimism of choosing on the development part, cross-validation; one rate for all problems; false minima",
        experiments="bias_variance compare_optimizers optimizers_2d",
    ),
    Row(
        "K7",
        "Dropout beside bagging; a 1-D convolutional network trained; a noisy sensor's window",
        experiments="ensemble dropout filters",
    ),
    Row(
        "K8",
        "Undrawn figures: the bull's-eye of bias and variance, an image as a matrix, the winners by year",
        experiments="bias_variance filters complexity",
    ),
]

ERRATA = [
    ("A4", "P and M leave out the non-linearity on z_j in the formula of the one-hidden-layer net."),
    ("B", "E's gradient of softmax lacks the factor y_j."),
    ("C1", "E defines the cost with 1/(2m) and computes its example with 1/m: .995, where the formula gives .4975."),
    ("C2", "E's example, .317, is in logarithms of base 10; natural ones give .729693. P's form lacks the minus."),
    ("C3", "M passes labels and logits to TensorFlow's cross entropy by position; it takes them by name only."),
    ("C6", "E has the sign of the L1 step reversed, and says that L2 draws weights to 1; it draws them to 0."),
    ("C6", "E's L2 step multiplies the gradient by α on one side and by α/m on the other."),
    ("D1", "E's loop adds the step, never updates the first layer, and takes δ = ŷ − y, true of ½(ŷ − y)² only."),
    ("D2", "E gives a layer of one output the biases (1, 1, 1), and writes Wᵀa in one place and Wa in another."),
    ("D4", "C's sum for the gradient of the input runs one too far."),
    ("E1", "S's code adds the step, and so ascends; E divides by the number of examples twice."),
    ("E3", "The loop that E prints for Nesterov's momentum is plain momentum in another order."),
    ("E5", "One of P's slides updates the average for the biases from that of the weights."),
    ("E6", "E divides by ρ where 1 − ρᵗ belongs; P corrects the first average of the bias with β₂."),
    ("F", "E prints the factor 4 of the variance under tanh; it belongs to the sigmoid."),
    ("G3", "E draws one mask per epoch and scales biases too; a mask belongs to one pass, and biases stay."),
    ("G3", "M writes Dropout(p=0.5); Keras calls the argument rate."),
    ("G4", "E's form of Shakeout lacks sgn(w), without which the mean is not w."),
    ("H6", "S calls the 65,536 pixels of an image parameters; they are inputs."),
    ("I", "P writes filter_size, where Keras says kernel_size."),
    ("I", "S's rows of VGG-16 sum to 15.2 million values, 60.95 MB an image, not to the printed 24 million and 96 MB."),
    ("I", "S gives GoogLeNet 5 million parameters and no dense layer; it has 7.0 million and one."),
    ("I", "S shows an accuracy of .7065 of its CIFAR-10 net, which is 65 of 92 images."),
]
