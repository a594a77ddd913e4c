"""What can be chosen about a stack: one frozen dataclass of flags, and the named recipes."""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, Literal

from tyro.conf import arg

from dae_jax.errors import InputError
from dae_jax.settings import train as config

PROG = "python -m dae_jax.pretrain"


@dataclass(frozen=True)
class Data(config.Data):
    """Which images to learn from."""

    unlabelled: Annotated[
        str | None, arg(metavar="NAME|PATH", help_behavior_hint="(default: none)")
    ] = None
    """More images, of the same kind, for pretraining alone; whatever labels they have are not
    looked at."""


@dataclass(frozen=True)
class Stack:
    """What is trained."""

    hidden: Annotated[tuple[int, ...], arg(metavar="UNITS [UNITS ...]")] = (1000, 1000, 1000)
    """Units of each layer, from the images up."""
    init: Literal["tutorial", "jax"] = "tutorial"
    """Who draws the initial weights: the tutorial's legacy NumPy generator, bit for bit, or JAX."""


@dataclass(frozen=True)
class Pretraining:
    """How each layer learns without labels. One value is for all layers, or one for each."""

    corruption: Annotated[
        tuple[float, ...],
        arg(
            metavar="LEVEL [LEVEL ...]",
            help_behavior_hint="(default: 0.1 0.2 0.3, and 0.3 for layers above)",
        ),
    ] = ()
    """Levels in [0, 1] or, for Gaussian noise, standard deviations."""
    noise: tuple[Literal["masking", "gaussian", "salt-and-pepper"], ...] = ("masking",)
    """What corrupts the inputs of a layer."""
    cost: tuple[Literal["cross-entropy", "squared-error"], ...] = ("cross-entropy",)
    """What a layer minimises."""
    decoder: tuple[Literal["sigmoid", "linear"], ...] = ("sigmoid",)
    """Its output: in (0, 1), or any number, for inputs not in [0, 1] and squared error only."""
    pretrain_epochs: Annotated[
        tuple[int, ...],
        arg(
            metavar="INT [INT ...]",
            help_behavior_hint="(default: 15 for mnist, else as many as make 18750 updates)",
        ),
    ] = ()
    """Passes over all images for a layer; 0 leaves it as it was drawn."""
    pretrain_learning_rate: tuple[float, ...] = (0.1,)
    """Step size of a layer, above 0."""
    batch_size: int = 20
    """Images a minibatch. A remainder is dropped, as in the tutorial."""
    shuffle: bool = False
    """Whether to draw a new order every epoch; the tutorial keeps the order of the file."""


@dataclass(frozen=True)
class Finetuning:
    """How the classifier learns from labels."""

    finetune_epochs: int = 20
    """The most passes over the labelled images; the patience rule usually ends it before."""
    finetune_learning_rate: float = 2.0
    """Step size, above 0. The tutorial's 0.1 for minibatches of one image, scaled to 20."""
    finetune_optimizer: Annotated[str, arg(metavar="NAME")] = "sgd"
    """sgd, momentum (.9), adam, or any other optimiser of Optax by its name there."""
    finetune_batch_size: int = 20
    """Images a minibatch."""
    finetune_shuffle: bool = False
    """Whether to draw a new order every epoch."""
    learning_rate_decay: float = 1.0
    """What the step size is multiplied by after every epoch, in (0, 1]."""
    weight_decay: float = 0.0
    """L2 penalty on the weight matrices, at least 0: each step sees its gradient, too."""
    dropout: Annotated[tuple[float, float], arg(metavar="INPUT HIDDEN")] = (0.0, 0.0)
    """Probabilities, in [0, 1), of leaving out an input and a hidden unit."""
    shift: Annotated[int, arg(metavar="PIXELS")] = 0
    """Move each image by at most so far, up or down and sideways, anew every time it is seen."""
    freeze: bool = False
    """Train the softmax layer alone, on the codes of the pretrained stack."""


@dataclass(frozen=True)
class Running:
    """What holds for both halves."""

    seed: int = 89677
    """Seed of weights, noise and order, 0 to 2**32 - 1. The tutorial's."""
    seeds: int = 1
    """How many seeds to train, from --seed on, in one compiled program."""
    precision: Literal["float32", "tensorfloat32", "bfloat16", "float64"] = "float32"
    """Of the matrix products: tensorfloat32 and bfloat16 are faster on GPU and TPU only; float64
    computes everything in double precision."""


@dataclass(frozen=True)
class Comparison:
    """Did pretraining help?"""

    compare: bool = False
    """Train three classifiers for every number of labels and every seed: fine-tuned from the
    pretrained stack, from random weights, and the pretrained stack frozen; print who won."""
    labels: Annotated[tuple[int | Literal["all"], ...], arg(metavar="N|all [N|all ...]")] = (
        100,
        1000,
        10000,
        "all",
    )
    """Numbers of labelled images to compare at, drawn evenly from the classes."""
    rates: tuple[float, ...] = (0.1, 1.0)
    """Step sizes of fine-tuning to choose from, on validation, for each classifier."""


@dataclass(frozen=True)
class Output:
    """Where the results go."""

    run_dir: Annotated[
        str | None, arg(metavar="PATH", help_behavior_hint="(default: a new folder in runs/)")
    ] = None
    """Folder for configuration, metrics, checkpoints, the model and its figures."""
    resume: bool = False
    """Go on where the run in --run-dir stopped; flags not given are taken from it."""
    debug: bool = False
    """Show the traceback of an error."""


LEVELS = (0.1, 0.2, 0.3)  # the tutorial's, from the images up


@dataclass(frozen=True)
class Config:
    """Pretrain a stack of denoising autoencoders, fine-tune it as a classifier, and test it.

    The tutorial's run:  python -m dae_jax.pretrain
    """

    preset: Literal["tutorial", "dropout", "best"] = "tutorial"
    """A named recipe, which sets all that is not given: the tutorial's; with dropout; or the best
    one here, which moves the images, too. They are MNIST's, and good starting points elsewhere."""
    data: Data = field(default_factory=Data)
    stack: Stack = field(default_factory=Stack)
    pretraining: Pretraining = field(default_factory=Pretraining)
    finetuning: Finetuning = field(default_factory=Finetuning)
    running: Running = field(default_factory=Running)
    comparison: Comparison = field(default_factory=Comparison)
    output: Output = field(default_factory=Output)

    @property
    def seeds(self) -> list[int]:
        """The seed of every member."""
        return list(range(self.running.seed, self.running.seed + self.running.seeds))

    @property
    def corruption(self) -> tuple[float, ...]:
        """The levels asked for; or the tutorial's, of as many layers as there are.

        >>> Config(stack=Stack(hidden=(500, 500))).corruption
        (0.1, 0.2)
        """
        n = len(self.stack.hidden)
        return self.pretraining.corruption or (*LEVELS[:n], *LEVELS[-1:] * (n - len(LEVELS)))

    def layer(self, k: int) -> dict[str, Any]:
        """The pretraining of layer k, counted from 0: one value of each setting that has several.

        >>> Config().layer(2)["corruption"], Config().layer(2)["noise"]
        (0.3, 'masking')
        """
        values = vars(self.pretraining) | {"corruption": self.corruption}
        return {
            name: value[k if len(value) > 1 else 0]
            for name, value in values.items()
            if isinstance(value, tuple) and value
        }


DROPOUT = Finetuning(
    finetune_epochs=30,
    finetune_learning_rate=1.0,
    finetune_optimizer="momentum",
    finetune_batch_size=100,
    finetune_shuffle=True,
    learning_rate_decay=0.9,
    dropout=(0.2, 0.2),
)
# Shifts make the images many more: less has to be left out, and learning takes longer.
SHIFTED = replace(
    DROPOUT, finetune_epochs=50, learning_rate_decay=0.94, dropout=(0.1, 0.2), shift=2
)

PRESETS = {
    "tutorial": Config(),
    "dropout": Config(preset="dropout", finetuning=DROPOUT),
    "best": Config(preset="best", finetuning=SHIFTED),
}
"""The recipes by the name that ``--preset`` takes."""

PRETRAIN_UPDATES = 18_750  # half of what 15 epochs of MNIST make: enough for a small set of images
PRETRAIN_EPOCHS = 15


def default_epochs(data_name: str, n_images: int, batch_size: int) -> int:
    """The tutorial's 15 passes a layer for `mnist`; for other data as many as make enough updates.

    >>> default_epochs("mnist", 50_000, 20), default_epochs("mnist-sample", 4_000, 20)
    (15, 94)
    """
    if data_name == "mnist":
        return PRETRAIN_EPOCHS
    return max(1, round(PRETRAIN_UPDATES / max(1, n_images // batch_size)))


def validate(asked: Config) -> None:
    """Refuse what cannot be meant, before anything is loaded or written.

    Raises:
        InputError: The first setting that is out of its range.
    """
    s, p, f, r = asked.stack, asked.pretraining, asked.finetuning, asked.running
    config.check_data(asked.data)
    if not s.hidden or min(s.hidden) < 1:
        got = " ".join(map(str, s.hidden)) or "none"
        raise InputError("--hidden", expected="a width of at least 1 for each layer", got=got)
    for part in fields(p):
        value = getattr(p, part.name)
        if isinstance(value, tuple) and len(value) not in (1, len(s.hidden)):
            if part.name in ("corruption", "pretrain_epochs") and not value:
                continue  # the default depends on the layers, or on the data
            raise InputError(
                f"--{part.name.replace('_', '-')}",
                expected=f"one value, or {len(s.hidden)}, one for each layer of --hidden",
                got=f"{len(value)} ({config.in_words(value)})" if value else "none",
            )
    for level in p.corruption:
        if not 0 <= level <= 1:  # NaN is not, either
            raise InputError("--corruption", expected="levels in [0, 1]", got=level)
    for k in range(len(s.hidden)):
        if (own := asked.layer(k))["cost"] == "cross-entropy" and own["decoder"] == "linear":
            raise InputError(
                f"--cost cross-entropy (layer {k + 1})",
                expected="--decoder sigmoid, whose output is in (0, 1)",
                got="linear",
                do="use --cost squared-error with it",
            )
    counts = {
        "batch-size": p.batch_size,
        "finetune-batch-size": f.finetune_batch_size,
        "finetune-epochs": f.finetune_epochs,
        "seeds": r.seeds,
    }
    for name, value in counts.items():
        config.check_count(name, value)
    for epochs in p.pretrain_epochs:
        if epochs < 0:
            raise InputError("--pretrain-epochs", expected="whole numbers, at least 0", got=epochs)
    for name, rates in (
        ("pretrain-learning-rate", p.pretrain_learning_rate),
        ("finetune-learning-rate", (f.finetune_learning_rate,)),
        ("rates", asked.comparison.rates),
    ):
        for rate in rates:
            config.check_above_0(name, rate)
    if not 0 < f.learning_rate_decay <= 1:
        raise InputError(
            "--learning-rate-decay", expected="a factor in (0, 1]", got=f.learning_rate_decay
        )
    if not (f.weight_decay >= 0 and math.isfinite(f.weight_decay)):
        raise InputError("--weight-decay", expected="at least 0", got=f.weight_decay)
    for level in f.dropout:
        if not 0 <= level < 1:
            raise InputError("--dropout", expected="probabilities in [0, 1)", got=level)
    if f.shift and (f.freeze or asked.comparison.compare):
        raise InputError(
            "--shift",
            expected="0 with --freeze and --compare, whose frozen codes are computed once",
            got=f.shift,
            do="add --shift 0",
        )
    config.check_seeds(r.seed, r.seeds)
    if not asked.comparison.labels or not asked.comparison.rates:
        raise InputError("--labels and --rates", expected="at least one each", got="none")
    for budget in asked.comparison.labels:
        if budget != "all":
            config.check_count("labels", budget)
    config.check_resume(asked.output)
