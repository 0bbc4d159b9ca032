"""What settings and files are called elsewhere: for hints alone, since here each has one name."""

from __future__ import annotations

# Settings, by the word that others have for them.
SETTINGS = {
    **dict.fromkeys(("learning_rate", "eta", "lr0", "step_size"), "optimizer.lr"),
    **dict.fromkeys(("wd", "l2", "decay"), "optimizer.weight_decay"),
    **dict.fromkeys(("n_trials", "max_trials", "num_trials", "num_samples", "n_iter"), "budget.trials"),
    **dict.fromkeys(("epoch", "n_epochs", "num_epochs", "max_epochs"), "budget.epochs"),
    **dict.fromkeys(("timeout", "max_time"), "budget.seconds"),
    **dict.fromkeys(("n_repeats", "repeats", "repetitions"), "budget.replicates"),
    **dict.fromkeys(("bs", "batch"), "batch_size"),
    **dict.fromkeys(("seed", "random_state", "random_seed"), "seed"),
    **dict.fromkeys(("seeds",), "budget.search_seeds"),
    **dict.fromkeys(
        ("hidden", "hidden_size", "hidden_sizes", "hidden_layers", "hidden_layer_sizes", "layers", "units"),
        "model.widths",
    ),
    **dict.fromkeys(("metric", "scoring", "objective", "score"), "search.metric"),
    **dict.fromkeys(("test_size", "test_split"), "data.test_fraction"),
    **dict.fromkeys(
        ("val_size", "validation_size", "val_split", "validation_split"), "data.validation_fraction"
    ),
    **dict.fromkeys(("imbalance_ratio", "imbalance_factor", "imb_factor", "ir"), "data.long_tail"),
    **dict.fromkeys(("label", "label_column", "y"), "data.target"),
    **dict.fromkeys(("csv", "file", "filename", "data_path"), "data.path"),
    **dict.fromkeys(("n_jobs", "jobs", "num_workers", "n_workers"), "fleet.processes"),
    **dict.fromkeys(("weights", "weight", "class_weights", "pos_weight"), "loss.class_weight"),
    **dict.fromkeys(("k_neighbors", "k"), "sampler.neighbors"),
    **dict.fromkeys(("cost_matrix", "cost"), "decision.costs"),
    **dict.fromkeys(("cv", "folds", "n_folds", "n_splits"), "evaluation.outer_parts"),
    **dict.fromkeys(("experiment_name",), "tracking.experiment"),
    **dict.fromkeys(("tracking_uri", "mlflow_uri"), "tracking.uri"),
    **dict.fromkeys(("mlflow", "track"), "tracking.enabled"),
    **dict.fromkeys(("scheduler", "lr_scheduler"), "schedule"),
    **dict.fromkeys(("resampler", "resampling"), "sampler"),
    **dict.fromkeys(("strategies", "method", "methods"), "strategy"),
    **dict.fromkeys(("dataset",), "data"),
}
# What a setting needs beside it.
BESIDE = {
    "evaluation.outer_parts": "evaluation=nested",
    "data.path": "data=csv",
    "data.target": "data=csv",
    "decision.costs": "decision=costs",
}

# What no setting is for, and what to do instead.
WITHOUT = {
    **dict.fromkeys(("device", "gpu", "cuda", "device_target"), "leave it out: training is on the CPU"),
    **dict.fromkeys(
        ("threshold",),
        "write decision=threshold with decision.metric or decision.at_least: it is fitted, not given",
    ),
}
# Values of a setting, by the word that others have for them, with what to write instead.
VALUES = {
    "model.normalisation": dict.fromkeys(
        ("batch", "batch_norm", "batchnorm", "bn"),
        "write model.normalisation=group, which does not depend on what else is in a batch",
    ),
}
# Files of a group, by the word that others have for them; one with an equals sign belongs into another group.
FILES = {
    "strategy": {
        **dict.fromkeys(("cross_entropy", "softmax", "baseline", "none", "plain", "default", "erm"), "ce"),
        **dict.fromkeys(
            ("weighted_cross_entropy", "class_weight", "class_weights", "balanced", "inverse_frequency"),
            "weighted_ce",
        ),
        **dict.fromkeys(("cb", "cb_loss", "effective_number"), "class_balanced"),
        **dict.fromkeys(("ldam", "drw"), "ldam_drw"),
        **dict.fromkeys(("la", "logit_adjustment"), "logit_adjusted"),
        **dict.fromkeys(("bsce", "bs"), "balanced_softmax"),
        **dict.fromkeys(("ghm", "ghm_c"), "gradient_density"),
        **dict.fromkeys(("asl",), "asymmetric"),
        **dict.fromkeys(("ros", "upsample", "upsampling", "random_oversampler"), "oversample"),
        **dict.fromkeys(("rus", "downsample", "downsampling", "random_undersampler"), "undersample"),
        **dict.fromkeys(("decoupling", "decoupled", "classifier_retraining"), "crt"),
        **dict.fromkeys(("tau_normalized", "tau_normalization"), "tau_norm"),
        **dict.fromkeys(("bagging", "easy_ensemble", "balanced_bagging"), "under_bagging"),
        **dict.fromkeys(("all", "*"), "glob(*)"),
    },
    "loss": {
        **dict.fromkeys(("bce", "nll", "softmax", "log_loss", "crossentropy"), "cross_entropy"),
        **dict.fromkeys(("weighted_ce", "wce"), "weighted_cross_entropy"),
        **dict.fromkeys(("asl",), "asymmetric"),
        **dict.fromkeys(("ghm", "ghm_c"), "gradient_density"),
        **dict.fromkeys(("la",), "logit_adjusted"),
        **dict.fromkeys(("bsce",), "balanced_softmax"),
        **dict.fromkeys(("cb", "class_balanced"), "strategy=class_balanced"),
    },
    "sampler": {
        **dict.fromkeys(("none", "random", "natural"), "shuffle"),
        **dict.fromkeys(("ros", "upsample", "over"), "oversample"),
        **dict.fromkeys(("rus", "downsample", "under"), "undersample"),
        **dict.fromkeys(("balanced", "weighted"), "class_balanced"),
    },
    "model": {
        **dict.fromkeys(("linear", "logreg", "softmax"), "logistic"),
        **dict.fromkeys(("nn", "dnn", "net"), "mlp"),
        **dict.fromkeys(("conv", "lenet"), "cnn"),
        **dict.fromkeys(("resnet", "resnet18", "resnet20"), "resnet_tiny"),
        **dict.fromkeys(
            ("xgboost", "xgb", "lightgbm", "catboost", "gbm"), "references=[hist_gradient_boosting]"
        ),
        **dict.fromkeys(("random_forest", "rf"), "references=[balanced_random_forest]"),
    },
    "optimizer": dict.fromkeys(("momentum", "nesterov"), "sgd"),
    "search": {
        **dict.fromkeys(("bayes", "bayesian", "bayesian_optimization", "bo", "optuna", "hyperopt"), "tpe"),
        **dict.fromkeys(("asha", "hyperband"), "pruner=hyperband"),
        **dict.fromkeys(("genetic", "evolutionary", "nsga"), "nsga2"),
        **dict.fromkeys(("sobol", "halton"), "qmc"),
    },
    "pruner": dict.fromkeys(("asha", "sha", "halving"), "successive_halving")
    | dict.fromkeys(("off", "nop"), "none"),
    "evaluation": dict.fromkeys(("cv", "kfold", "cross_validation"), "nested")
    | dict.fromkeys(("bootstrap", "repeated"), "resampled"),
    "keep": dict.fromkeys(("best", "true"), "winner") | dict.fromkeys(("false", "off"), "none"),
    "mining": dict.fromkeys(("hard", "topk"), "fraction"),
    "engine": dict.fromkeys(("cpu", "processes"), "local"),
    "metric": {
        **dict.fromkeys(("bacc", "balanced"), "balanced_accuracy"),
        **dict.fromkeys(("auc", "auroc", "roc"), "roc_auc"),
        **dict.fromkeys(("ap", "auprc", "pr_auc"), "average_precision"),
        **dict.fromkeys(("matthews_corrcoef", "matthews"), "mcc"),
        **dict.fromkeys(("ece",), "expected_calibration_error"),
        **dict.fromkeys(("gmean", "geometric_mean"), "g_mean"),
        **dict.fromkeys(("f1_score", "f1_macro"), "macro_f1"),
        **dict.fromkeys(("brier",), "brier_score"),
        **dict.fromkeys(("acc",), "accuracy"),
        **dict.fromkeys(("nll", "cross_entropy"), "log_loss"),
    },
}


def file_elsewhere(group: str, word: str) -> str | None:
    """The override that a word for a file elsewhere stands for, such as `strategy=ce` for the strategy `softmax`."""
    known = FILES.get(group, {})
    name = known.get(word.lower().replace("-", "_"))
    return name if name is None or "=" in name else f"{group}={name}"
