"""Settings of ``python -m dae_jax.pretrain``, and its named recipes."""

import math
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Any, ClassVar, Literal, get_args

from tyro.conf import arg

from dae_jax.errors import InputError, check_objective
from dae_jax.settings import shared
from dae_jax.settings.shared import Decoder, Denoising, Noise, Objective, Optimizer, Precision

__all__ = [
    "ARMS",
    "PRESETS",
    "Arm",
    "Comparison",
    "Data",
    "Finetuning",
    "Layer",
    "Output",
    "Pretraining",
    "Running",
    "Settings",
    "Stack",
    "default_epochs",
]

_BY_LAYERS_OR_DATA = ("corruption", "pretrain_epochs", "pretrain_learning_rate")
"""The settings of pretraining whose default, (), depends on the layers or on the data."""
LEVELS = (0.1, 0.2, 0.3)  # the tutorial's corruption levels, from the images up

# The default rate of fine-tuning per image of a minibatch, whose cost is a mean, and the largest: a
# rate of 10, for minibatches of 100, saturates the sigmoids and learns nothing.
RATES = {"sgd": (0.1, 2.0), "momentum": (0.01, 1.0)}
OTHER_RATE = 0.001  # of Adam and its relatives, whose steps do not grow with the gradient


@dataclass(frozen=True)
class Data(shared.Data):
    """The images to learn from."""

    unlabelled: Annotated[
        str | None, arg(metavar="NAME|PATH", help_behavior_hint="(default: none)")
    ] = None
    """More images of the same kind, for pretraining only; labels they may have are ignored."""


@dataclass(frozen=True)
class Stack:
    """The network."""

    hidden: Annotated[tuple[int, ...], arg(metavar="UNITS [UNITS ...]")] = (1000, 1000, 1000)
    """Number of units of each layer, from the images up."""
    init: Literal["tutorial", "jax"] = "tutorial"
    """Initial weights: the tutorial's, bit for bit, from NumPy's legacy generator; or JAX's."""

    def check(self) -> None:
        """Check the widths."""
        if not self.hidden or min(self.hidden) < 1:
            got = " ".join(map(str, self.hidden)) or "none"
            raise InputError("--hidden", expected="a width of at least 1 for each layer", got=got)


@dataclass(frozen=True)
class Layer(Denoising):
    """The pretraining of one layer."""

    pretrain_epochs: int
    pretrain_learning_rate: float
    batch_size: int
    shuffle: bool
    pretrain_optimizer: Optimizer = "sgd"


@dataclass(frozen=True)
class Pretraining:
    """Pretraining without labels. One value is for all layers, several are one for each layer."""

    corruption: Annotated[
        tuple[float, ...],
        arg(
            metavar="LEVEL [LEVEL ...]",
            help_behavior_hint="(default: 0.1 0.2 0.3, and 0.3 for layers above)",
        ),
    ] = ()
    """Levels in [0, 1] or, for Gaussian noise, standard deviations."""
    noise: Annotated[tuple[Noise, ...], arg(metavar="NAME [NAME ...]")] = ("masking",)
    """Kind of noise on the inputs of a layer: masking, masking-count, gaussian, salt-and-pepper or
    swap."""
    emphasis: Annotated[
        tuple[float, float] | None,
        arg(metavar="CHANGED OTHERS", help_behavior_hint="(default: 1 1)"),
    ] = field(default=None, metadata={"since": "0.2.0"})
    """Weights in the cost of inputs that the noise has changed, and of the others, everywhere."""
    cost: Annotated[tuple[Objective, ...], arg(metavar="NAME [NAME ...]")] = ("cross-entropy",)
    """Cost that a layer minimises: cross-entropy or squared-error."""
    decoder: Annotated[tuple[Decoder, ...], arg(metavar="NAME [NAME ...]")] = ("sigmoid",)
    """Output: sigmoid, in (0, 1); or linear, for inputs outside [0, 1], with squared error only."""
    pretrain_epochs: Annotated[
        tuple[int, ...],
        arg(
            metavar="INT [INT ...]",
            help_behavior_hint="(default: 15 for mnist, otherwise enough for 18750 updates)",
        ),
    ] = ()
    """Passes over all images for a layer; 0 leaves its initial weights."""
    pretrain_learning_rate: Annotated[
        tuple[float, ...],
        arg(
            metavar="RATE [RATE ...]",
            help_behavior_hint="(default: 0.1 for sgd, 0.01 for momentum, 0.001 for adam; "
            "sgd and momentum of a linear output 0.5 and 0.05 / the layer's units)",
        ),
    ] = ()
    """Learning rate of a layer, above 0."""
    pretrain_optimizer: Optimizer = field(default="sgd", metadata={"since": "0.2.0"})
    """Optax optimiser; momentum is .9."""
    batch_size: int = 20
    """Images per minibatch. A remainder is dropped, as in the tutorial."""
    shuffle: bool = False
    """Whether to draw a new order every epoch; the tutorial keeps the order of the file."""
    from_run: Annotated[str | None, arg(metavar="DIR", help_behavior_hint="(default: none)")] = (
        field(default=None, metadata={"since": "0.2.0"})
    )
    """Run directory of a stack whose pretrained layers are fine-tuned, without pretraining again.
    Its data, seeds and precision are the defaults. Each seed takes the layers of the same seed; if
    there is only one, it serves all."""

    def check(self, n_layers: int) -> None:
        """Check the number of values of each setting, and their ranges."""
        for part in fields(self):
            value = getattr(self, part.name)
            by_layer = isinstance(value, tuple) and part.name != "emphasis"
            if not by_layer or len(value) in (1, n_layers):
                continue
            if part.name in _BY_LAYERS_OR_DATA and not value:
                continue
            raise InputError(
                f"--{part.name.replace('_', '-')}",
                expected=f"one value, or {n_layers}, one for each layer of --hidden",
                got=f"{len(value)} ({shared.in_words(value)})" if value else "none",
            )
        shared.check_levels(self.corruption)
        shared.check_emphasis(self.emphasis)
        for k in range(n_layers):
            cost, decoder = _of_layer(self.cost, k), _of_layer(self.decoder, k)
            check_objective(cost, decoder, f"--cost cross-entropy (layer {k + 1})")
        shared.check_count("batch-size", self.batch_size)
        for epochs in self.pretrain_epochs:
            if epochs < 0:
                expected = "whole numbers, at least 0"
                raise InputError("--pretrain-epochs", expected=expected, got=epochs)
        for rate in self.pretrain_learning_rate:
            shared.check_above_0("pretrain-learning-rate", rate)


@dataclass(frozen=True)
class Finetuning:
    """Fine-tuning of the classifier with labels."""

    finetune_epochs: int = 20
    """Largest number of passes over the labelled images; early stopping usually ends it before."""
    finetune_learning_rate: Annotated[
        float | None,
        arg(
            metavar="FLOAT",
            help_behavior_hint="(default: sgd 0.1 times --finetune-batch-size, at most 2; momentum "
            "0.01 times it, at most 1; other optimisers 0.001)",
        ),
    ] = None
    """Learning rate, above 0. The tutorial's, for single images, is 0.1."""
    finetune_optimizer: Annotated[str, arg(metavar="NAME")] = "sgd"
    """sgd, momentum (.9), adam, or any other optimiser of Optax by its name there."""
    finetune_batch_size: int = 20
    """Images per minibatch."""
    finetune_shuffle: bool = False
    """Whether to draw a new order every epoch."""
    learning_rate_decay: float = 1.0
    """Factor on the learning rate after every epoch, in (0, 1]."""
    weight_decay: float = 0.0
    """L2 penalty on the weight matrices, at least 0: lambda of lambda/2 times their squared sum."""
    dropout: Annotated[tuple[float, float], arg(metavar="INPUT HIDDEN")] = (0.0, 0.0)
    """Probabilities, in [0, 1), of dropping an input and a hidden unit."""
    shift: Annotated[int, arg(metavar="PIXELS")] = 0
    """Shift each image by up to so many pixels, vertically and horizontally, anew every epoch."""
    freeze: bool = False
    """Train the softmax layer only, on the codes of the pretrained stack."""

    @property
    def rate(self) -> float:
        """The learning rate, if none is given that of the optimiser and the minibatch.

        >>> Finetuning().rate, Finetuning(finetune_optimizer="adam").rate
        (2.0, 0.001)
        """
        if self.finetune_learning_rate is not None:
            return self.finetune_learning_rate
        if self.finetune_optimizer not in RATES:
            return OTHER_RATE
        of_an_image, most = RATES[self.finetune_optimizer]
        return min(of_an_image * self.finetune_batch_size, most)

    def check(self) -> None:
        """Check the range of each setting."""
        shared.check_count("finetune-batch-size", self.finetune_batch_size)
        shared.check_count("finetune-epochs", self.finetune_epochs)
        shared.check_above_0("finetune-learning-rate", self.rate)
        decay = self.learning_rate_decay
        if not 0 < decay <= 1:
            raise InputError("--learning-rate-decay", expected="a factor in (0, 1]", got=decay)
        if not (self.weight_decay >= 0 and math.isfinite(self.weight_decay)):
            raise InputError("--weight-decay", expected="at least 0", got=self.weight_decay)
        for level in self.dropout:
            if not 0 <= level < 1:
                raise InputError("--dropout", expected="probabilities in [0, 1)", got=level)


@dataclass(frozen=True)
class Running:
    """Seeds and precision, for pretraining and fine-tuning."""

    seed: int = 89677
    """Seed of weights, noise and order, 0 to 2**32 - 1. The default is the tutorial's."""
    seeds: int = 1
    """Number of seeds to train, from --seed on, in one compiled program."""
    precision: Precision = "float32"
    """Precision of matrix products: tensorfloat32 and bfloat16 are faster on GPU and TPU only;
    float64 computes everything in double precision."""


Arm = Literal[
    "pretrained",
    "random",
    "frozen",
    "rectifiers",
    "rectifiers-shifted",
    "ladder",
    "ladder-shifted",
    "majority-class",
    "logistic-regression",
    "nearest-neighbours",
    "svm",
    "label-spreading",
]
ARMS: tuple[Arm, ...] = get_args(Arm)
"""The classifiers that are compared; see `runs.arms`."""


@dataclass(frozen=True)
class Comparison:
    """Comparison with and without pretraining."""

    compare: bool = False
    """Train several classifiers for every number of labels and every seed, and compare their test
    errors: does pretraining help? --finetune-epochs and --finetune-learning-rate are not used."""
    labels: Annotated[tuple[int | Literal["all"], ...], arg(metavar="N|all [N|all ...]")] = (
        100,
        1000,
        10000,
        "all",
    )
    """Numbers of labelled images to compare at, drawn evenly from the classes."""
    rates: Annotated[tuple[float, ...], arg(metavar="RATE [RATE ...]")] = (0.1, 0.3, 1.0, 3.0, 10.0)
    """Learning rates of fine-tuning to choose from, by validation error, for each classifier. If
    the smallest or the largest one is the best, another one beyond it is tried."""
    adam_rates: Annotated[tuple[float, ...], arg(metavar="RATE [RATE ...]")] = field(
        default=(0.0001, 0.0003, 0.001, 0.003, 0.01), metadata={"since": "0.2.0"}
    )
    """The same for the rectifiers, which learn by Adam."""
    cap: int = field(default=500, metadata={"since": "0.2.0"})
    """Largest number of epochs, which have 200 minibatches or more; a classifier whose errors still
    improve then is warned of."""
    arms: Annotated[tuple[Arm, ...], arg(metavar="NAME [NAME ...]")] = field(
        default=ARMS, metadata={"since": "0.2.0"}
    )
    """The classifiers. Of the stack: pretrained, all its layers fine-tuned; random, from its
    initial weights; frozen, a softmax layer on its codes. Others: rectifiers, of the same widths
    with ReLU, dropout and Adam; ladder, that of --preset few-labels; rectifiers-shifted and
    ladder-shifted, whose images are shifted; majority-class, logistic-regression,
    nearest-neighbours, svm and label-spreading, which take seconds."""

    def possible(self, *, shifts: bool) -> tuple[Arm, ...]:
        """The arms in the order of `ARMS`, without those that shift images that cannot be shifted.

        Args:
            shifts: Whether the images can be shifted.

        >>> Comparison(arms=("ladder-shifted", "random")).possible(shifts=False)
        ('random',)
        """
        return tuple(
            arm for arm in ARMS if arm in self.arms and (shifts or not arm.endswith("-shifted"))
        )

    def check(self) -> None:
        """Check the numbers of labels, the learning rates and the cap."""
        for rate in self.rates:
            shared.check_above_0("rates", rate)
        for rate in self.adam_rates:
            shared.check_above_0("adam-rates", rate)
        shared.check_count("cap", self.cap)
        if not (self.labels and self.rates and self.adam_rates and self.arms):
            what = "--labels, --rates, --adam-rates and --arms"
            raise InputError(what, expected="at least one each", got="none")
        for budget in self.labels:
            if budget != "all":
                shared.check_count("labels", budget)


@dataclass(frozen=True)
class Output:
    """Where the results go."""

    run_dir: Annotated[
        str | None, arg(metavar="PATH", help_behavior_hint="(default: a new folder in runs/)")
    ] = None
    """Folder for configuration, metrics, checkpoints, the model and its figures."""
    resume: bool = False
    """Resume the run in --run-dir; flags that are not given are taken from it."""
    debug: bool = False
    """Show the traceback of an error."""


@dataclass(frozen=True)
class Settings:
    """Pretrain a stack of denoising autoencoders, fine-tune it as a classifier, and test it.

    The tutorial's run:  python -m dae_jax.pretrain --preset tutorial
    """

    prog: ClassVar[str] = "python -m dae_jax.pretrain"
    first_flags: ClassVar[tuple[str, ...]] = (
        *("data", "unlabelled", "preset", "hidden"),
        *("compare", "labels", "seed", "seeds", "run_dir", "resume"),
    )

    preset: Annotated[
        Literal["large-rate", "tutorial", "dropout", "best"],
        arg(metavar="large-rate|tutorial|dropout|best|few-labels"),
    ] = "large-rate"
    """Recipe for all flags that are not given: the tutorial's stack, pretrained at five times its
    learning rate, in less time; the tutorial's own recipe, scaled to minibatches of 20; one with
    dropout; or the best one, which also shifts the images. They are tuned to MNIST, and good
    starting points elsewhere. Your own data, without a preset and without flags of the stack, train
    a ladder network, which learns more from few labels: --preset few-labels, with flags of its own,
    see --preset few-labels --help."""
    data: Data = field(default_factory=Data)
    stack: Stack = field(default_factory=Stack)
    pretraining: Pretraining = field(default_factory=Pretraining)
    finetuning: Finetuning = field(default_factory=Finetuning)
    running: Running = field(default_factory=Running)
    comparison: Comparison = field(default_factory=Comparison)
    machine: shared.Machine = field(default_factory=shared.Machine, metadata={"since": "0.2.0"})
    output: Output = field(default_factory=Output)

    @property
    def seeds(self) -> list[int]:
        """The seed of every member."""
        return list(range(self.running.seed, self.running.seed + self.running.seeds))

    def layer(self, k: int) -> Layer:
        """The pretraining of layer k, counted from 0, once `resolved` has filled in the epochs.

        >>> Settings().resolved("mnist", 50_000).layer(2).corruption
        0.3
        """
        p = self.pretraining
        return Layer(
            corruption=_of_layer(p.corruption, k),
            noise=_of_layer(p.noise, k),
            cost=_of_layer(p.cost, k),
            decoder=_of_layer(p.decoder, k),
            emphasis=p.emphasis,
            pretrain_epochs=_of_layer(p.pretrain_epochs, k),
            pretrain_learning_rate=_of_layer(p.pretrain_learning_rate, k),
            pretrain_optimizer=p.pretrain_optimizer,
            batch_size=p.batch_size,
            shuffle=p.shuffle,
        )

    def resolved(self, data_name: str, n_images: int) -> "Settings":
        """These settings with the defaults filled in that depend on the data and on other settings.

        Args:
            data_name: Name of the data set.
            n_images: Number of images to pretrain on.

        >>> two_layers = Settings(stack=Stack(hidden=(500, 500)))
        >>> two_layers.resolved("mnist", 50_000).pretraining.corruption
        (0.1, 0.2)
        """
        n, p = len(self.stack.hidden), self.pretraining
        levels = p.corruption or (*LEVELS[:n], *LEVELS[-1:] * (n - len(LEVELS)))
        epochs = p.pretrain_epochs or (default_epochs(data_name, n_images, p.batch_size),)
        rates = p.pretrain_learning_rate or tuple(
            shared.default_rate(p.pretrain_optimizer, _of_layer(p.decoder, k), width)
            for k, width in enumerate(self.stack.hidden)
        )
        rates = rates[:1] if len(set(rates)) == 1 else rates
        return replace(
            self,
            data=replace(self.data, data=self.data.data or data_name),
            pretraining=replace(
                p, corruption=levels, pretrain_epochs=epochs, pretrain_learning_rate=rates
            ),
            finetuning=replace(self.finetuning, finetune_learning_rate=self.finetuning.rate),
        )

    def check(self) -> None:
        """Check every setting, before anything is loaded or written.

        Raises:
            InputError: The first setting that is out of its range.
        """
        shared.check_data(self.data)
        shared.check_machine(self.machine)
        self.stack.check()
        self.pretraining.check(len(self.stack.hidden))
        self.finetuning.check()
        self.comparison.check()
        shared.check_count("seeds", self.running.seeds)
        shared.check_seeds(self.running.seed, self.running.seeds)
        if self.comparison.compare and self.machine.started != 1:
            got = self.machine.started or "auto"
            raise InputError("--processes", expected="1 with --compare", got=got)
        if self.finetuning.shift and (self.finetuning.freeze or self.comparison.compare):
            raise InputError(
                "--shift",
                expected="0 with --freeze and --compare, whose frozen codes are computed once",
                got=self.finetuning.shift,
                do="add --shift 0",
            )
        shared.check_run_dir(self.output)


def _of_layer(values: tuple[Any, ...], k: int) -> Any:
    """The value of layer k: its own, or the only one."""
    return values[k if len(values) > 1 else 0]


DROPOUT = Finetuning(
    finetune_epochs=30,
    finetune_optimizer="momentum",
    finetune_batch_size=100,
    finetune_shuffle=True,
    learning_rate_decay=0.9,
    dropout=(0.2, 0.2),
)
# Shifted images are many more: less dropout is needed, and learning takes longer.
SHIFTED = replace(
    DROPOUT, finetune_epochs=50, learning_rate_decay=0.94, dropout=(0.1, 0.2), shift=2
)

# The tutorial takes single images, at rates of .001 and .1. The cost of a minibatch is a mean, so
# that 20 times the rate makes the same step per image.
TUTORIAL = Settings(
    preset="tutorial",
    pretraining=Pretraining(pretrain_learning_rate=(0.02,)),
    finetuning=Finetuning(finetune_epochs=1000),
)

PRESETS = {
    "large-rate": Settings(),
    "tutorial": TUTORIAL,
    "dropout": Settings(preset="dropout", finetuning=DROPOUT),
    "best": Settings(preset="best", finetuning=SHIFTED),
}
"""The recipes by the name that ``--preset`` takes."""

PRETRAIN_UPDATES = 18_750  # half of what 15 epochs of MNIST make: enough for a small set of images
PRETRAIN_EPOCHS = 15


def default_epochs(data_name: str, n_images: int, batch_size: int) -> int:
    """The tutorial's 15 epochs per layer for `mnist`; for other data enough for 18,750 updates.

    >>> default_epochs("mnist", 50_000, 20), default_epochs("mnist-sample", 4_000, 20)
    (15, 94)
    """
    if data_name == "mnist":
        return PRETRAIN_EPOCHS
    return max(1, round(PRETRAIN_UPDATES / max(1, n_images // batch_size)))
