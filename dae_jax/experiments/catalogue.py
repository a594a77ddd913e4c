"""The experiments of the articles behind this project, each as a declaration.

A declaration says what is trained (`models`), measured (`measures`) and drawn (`pictures`), and
what is claimed of the numbers: that they are reproduced, improved, or only shown; see `claims`.
`experiment` runs it for ``python -m dae_jax.reproduce``. Every change of a recipe or a claim has a
line in ``results/CHANGES.md``.
"""

from functools import partial
from typing import Any

from dae_jax.deep import Architecture
from dae_jax.experiments import measures, pictures
from dae_jax.experiments.claims import Improved, Reproduced, Shown
from dae_jax.experiments.data import Images, Patches
from dae_jax.experiments.experiment import Experiment
from dae_jax.experiments.ladder import Ladder
from dae_jax.experiments.models import (
    PCA,
    Autoencoder,
    Chosen,
    Network,
    Pretrained,
    Recipe,
    Stack,
)

__all__ = ["EXPERIMENTS"]

ARTICLE = Images(with_valid=True)  # all 60,000 training images, tested on the 10,000 others
TENSORFLOW = Images(with_valid=True, skip=5000)  # the 55,000 of TensorFlow's tutorials
TEN = tuple(range(1, 11))  # seeds
THREE = tuple(range(1, 4))
FIVE = tuple(range(1, 6))  # seeds, where one takes more than three minutes
SIX = tuple(range(1, 7))  # the same number on each of two cores
HINTON = "Hinton & Salakhutdinov, Science 2006"
UFLDL = "UFLDL tutorial, sparse autoencoder"
RIFAI = "Rifai, Vincent, Muller, Glorot & Bengio, ICML 2011"
PIXELS = 784


def _da(level: float | None) -> Autoencoder:
    return Autoencoder(
        Architecture((PIXELS, 500), tied=True),
        Recipe(15, 20, "sgd", 0.1, shuffle=False),
        level=level,
        tutorial_weights=True,
    )


DA_FILTERS = Experiment(
    what="the tutorial's dA, 784-500, at 0 and 30 % masking",
    source="deeplearning.net, Denoising Autoencoders (dA); Vincent et al., ICML 2008, figure 3",
    images=Images(pixel_scale=256),
    seeds=tuple(range(123, 133)),
    models={"0 %": _da(None), "30 %": _da(0.3)},
    measures=(measures.final_cost("0 %", "30 %"), measures.local_filters("0 %", "30 %")),
    pictures={
        "filters_0": pictures.filters("0 %"),
        "filters_30": pictures.filters("30 %"),
        "same_units": pictures.same_units("0 %", "30 %"),
    },
    claims=(
        # Theano's costs, seed 123; without corruption, nothing is random but the first weights.
        Reproduced("0 %: cost", "52.4395", exact=True),
        Reproduced("30 %: cost", "65.604"),
        Shown("0 %: local filters"),
        Shown("30 %: local filters"),
    ),
)

LEVELS = ("0 %", "10 %", "25 %", "50 %")

NOISE_LEVELS = Experiment(
    what="the same units of the tutorial's dA at 0, 10, 25 and 50 % masking",
    source="Vincent et al., ICML 2008, figure 3; JMLR 2010, figure 8",
    images=Images(pixel_scale=256),
    seeds=(123, 124, 125),
    models={"0 %": _da(None), "10 %": _da(0.1), "25 %": _da(0.25), "50 %": _da(0.5)},
    measures=(measures.final_cost(*LEVELS), measures.local_filters(*LEVELS)),
    pictures={"same_units": pictures.same_units(*LEVELS)},
    claims=tuple(Shown(f"{level}: local filters") for level in LEVELS),
    note="Each seed's models begin with the same weights, so that a unit can be followed.",
)


def _pretrained(level: float) -> Pretrained:
    return Pretrained(
        Architecture((PIXELS, 1000, 1000, 1000)),
        Stack(Recipe(15, 20, "sgd", shuffle=False), (0.1, 0.1, 0.1), level),
    )


REGENERATED = Experiment(
    what="digits drawn from the top-layer codes of stacks with and without noise",
    source="Vincent et al., JMLR 2010, section 6: samples regenerated from the top layer",
    images=Images(),
    seeds=(1,),
    models={"SAE-3": _pretrained(0.0), "SdA-3": _pretrained(0.25)},
    measures=(measures.regenerations("SAE-3", "SdA-3"),),
    pictures={
        "without_noise": pictures.regenerated("SAE-3"),
        "with_noise": pictures.regenerated("SdA-3"),
    },
    claims=tuple(
        Shown(f"{name}: {number}")
        for name in ("SAE-3", "SdA-3")
        for number in ("regenerated digits of the same class", "variation of regenerated digits")
    ),
    note="The source's figure is of another network and noise; one seed.",
)


def _of_patches(**terms: Any) -> Autoencoder:
    return Autoencoder(
        Architecture((144, 200), output="linear", tied=True),
        Recipe(100, 100, "adam"),
        objective="squared-error",
        **terms,
    )


NOISES = {"noise of 0.5": 0.5, "noise of 1.5": 1.5, "noise of 3": 3.0}
OF_PATCHES = ("no noise", "weight decay", *NOISES)

PATCHES = Experiment(
    what="dA, 144-200 with a linear output, on 12 x 12 patches of whitened photographs",
    source="Vincent et al., JMLR 2010, figures 5 and 6",
    images=Patches(),
    models={
        "no noise": _of_patches(),
        "weight decay": _of_patches(weight_decay=0.3),
        **{name: _of_patches(noise="gaussian", level=sigma) for name, sigma in NOISES.items()},
    },
    measures=(measures.localised_filters(*OF_PATCHES),),
    pictures={
        "patches": pictures.sheet("inputs"),
        **{name.replace(" ", "_"): pictures.filters(name) for name in OF_PATCHES},
    },
    claims=tuple(Shown(f"{name}: localised filters") for name in OF_PATCHES),
    note="The patches are of our own photographs, which come with scikit-image and scikit-learn. "
    "Gaussian noise in units of the standard deviation of all pixels; the source's is .5, of "
    "patches whose scale is not known here. The two larger ones were found by looking at filters.",
)

PER_PIXEL = 1 / PIXELS

DEEP_2D = Experiment(
    what="784-512-128-2-128-512-784, ELU, linear code, against PCA with 2 components",
    source="an article on autoencoders and PCA; see results/README.md",
    images=ARTICLE,
    seeds=TEN,
    models={
        "pca": PCA(2),
        "deep": Autoencoder(
            Architecture((PIXELS, 512, 128, 2), hidden="elu", code="linear"),
            Recipe(5, 128),
            objective="squared-error",
        ),
    },
    measures=(
        measures.pixel_error("pca"),
        measures.held_out_curve("deep", per=PER_PIXEL, what="held-out error per pixel"),
        measures.neighbours("pca", "deep"),
    ),
    pictures={
        "maps": pictures.scatter({"pca": "PCA", "deep": "deep autoencoder"}),
        "maps_training": pictures.scatter({"pca": "PCA", "deep": "deep autoencoder"}, "train"),
        "reconstructions": pictures.reconstructions("pca", "deep"),
        "reconstructions_training": pictures.reconstructions("pca", "deep", part="train"),
        "loss": pictures.loss_curves("deep", per=PER_PIXEL, label="error per pixel, held-out"),
    },
    claims=(
        Reproduced("pca: training error per pixel", ".056", exact=True),
        *(
            Reproduced(f"deep: held-out error per pixel, epoch {epoch}", published)
            for epoch, published in enumerate((".0482", ".0448", ".0430", ".0416", ".0407"), 1)
        ),
        Shown("deep: 10-nearest-neighbour accuracy"),
        Shown("pca: 10-nearest-neighbour accuracy"),
    ),
)


def _linear(recipe: Recipe) -> Autoencoder:
    return Autoencoder(
        Architecture((PIXELS, 512, 128, 2), hidden="linear", code="linear", output="linear"),
        recipe,
        objective="squared-error",
    )


DEEP_2D_LINEAR = Experiment(
    what="the same net with linear units only, against PCA",
    source=DEEP_2D.source,
    images=ARTICLE,
    seeds=TEN,
    models={
        "pca": PCA(2),
        "linear": _linear(Recipe(5, 128)),
        "longer": _linear(Recipe(10, 128, decay="cosine")),
    },
    measures=(
        measures.pixel_error("pca", "linear", "longer"),
        measures.principal_angle("linear", "pca"),
        measures.principal_angle("longer", "pca"),
    ),
    pictures={"maps": pictures.scatter({"pca": "PCA", "linear": "linear autoencoder"})},
    claims=(
        Reproduced("linear: training error per pixel", ".056"),
        Shown("linear: largest principal angle", "the planes of both are the same: 0 degrees"),
        Shown("longer: training error per pixel", "that of PCA"),
        Shown("longer: largest principal angle", "the planes of both are the same: 0 degrees"),
    ),
    note="The second net trains for ten epochs instead of five, with a learning rate that falls to "
    "zero: so close does it come to PCA.",
)


def _hinton(code: int) -> Autoencoder:
    return Autoencoder(
        Architecture((PIXELS, 1000, 500, 250, code), code="linear"),
        Recipe(60 if code > 2 else 12, 250, learning_rate=2e-3, decay="cosine"),
        after=Stack(Recipe(10, 50, "sgd"), (0.2, 0.2, 0.2, 0.01), level=0.1),
    )


ANOTHER_METHOD = (
    "pretrained as stacked denoising autoencoders instead of RBMs, and fine-tuned by Adam instead "
    "of conjugate gradients"
)

DEEP_30D = Experiment(
    what="784-1000-500-250-30, pretrained as a stack of dAs, unrolled, fine-tuned",
    source=HINTON,
    images=ARTICLE,
    models={
        "pca": PCA(30),
        "logistic pca": Autoencoder(
            Architecture((PIXELS, 30), code="linear"), Recipe(100, 100, decay="cosine")
        ),
        "deep": _hinton(30),
    },
    measures=(
        measures.image_error("pca", "logistic pca", "deep"),
        measures.neighbours("pca", "deep"),
    ),
    pictures={"reconstructions": pictures.reconstructions("deep", "logistic pca", "pca")},
    claims=(
        Reproduced("pca: error per image", "13.87", exact=True),
        Improved(
            "logistic pca: error per image",
            "8.01",
            differs="trained by Adam; how the source's was trained is not known",
            chosen="nothing: so many epochs that the cost stands still",
        ),
        Improved(
            "deep: error per image",
            "3.00",
            differs=ANOTHER_METHOD,
            chosen="the number of epochs: the time it takes; nothing on validation images",
        ),
    ),
)

DEEP_2D_PRETRAINED = Experiment(
    what="784-1000-500-250-2, pretrained as a stack of dAs, unrolled, fine-tuned: the 2-d map",
    source=HINTON,
    images=ARTICLE,
    models={"pca": PCA(2), "deep": _hinton(2)},
    measures=(
        measures.image_error("pca", "deep"),
        measures.neighbours("pca", "deep"),
        measures.silhouette("pca", "deep"),
    ),
    pictures={"maps": pictures.scatter({"pca": "PCA", "deep": "deep autoencoder"})},
    claims=(
        Shown("deep: 10-nearest-neighbour accuracy", "figure 3B"),
        Shown("pca: 10-nearest-neighbour accuracy", "figure 3A"),
    ),
    note=f"Another training method than the source's: {ANOTHER_METHOD}.",
)


def _relu(sizes: tuple[int, ...], recipe: Recipe, **terms: Any) -> Autoencoder:
    return Autoencoder(Architecture(sizes, hidden="relu", code="relu"), recipe, **terms)


CROSS_ENTROPY = "cross-entropy per pixel"
TEN_EPOCHS = Recipe(10, 256)


def _keras(
    what: str,
    sizes: tuple[int, ...],
    title: str,
    *,
    standardised: bool = False,
    tsne: bool = False,
    **terms: Any,
) -> Experiment:
    """One of the article's autoencoders in Keras, on pixels in [0, 1] or standardised.

    Its six parameters are what differs between the eight of them.
    """
    layout = (measures.tsne_compactness("net"),) if tsne else ()
    plane = pictures.tsne_scatter("net", title) if tsne else pictures.scatter({"net": title})
    after = " after t-SNE" if tsne else ""
    more = (measures.saturation("net"),) if standardised else ()
    return Experiment(
        what=what + (", standardised images" if standardised else ""),
        source="an article on autoencoders in Keras; see results/README.md",
        images=Images("standardised" if standardised else "unit", with_valid=True),
        models={"net": _relu(sizes, TEN_EPOCHS, clipped=standardised, **terms)},
        measures=(
            measures.held_out_cost("net", per=PER_PIXEL, what=CROSS_ENTROPY),
            measures.activity("net"),
            measures.silhouette("net"),
            measures.neighbours("net"),
            *layout,
            *more,
        ),
        pictures={"map": plane, "reconstructions": pictures.reconstructions("net")},
        claims=(
            Shown(f"net: 10-nearest-neighbour accuracy{after}"),
            Shown(f"net: {CROSS_ENTROPY}", "none"),
            *((Shown("net: outputs clipped", "none"),) if standardised else ()),
        ),
        note=STANDARDISED if standardised else "",
    )


STANDARDISED = (
    "As the article is written: the standardised images are inputs and targets. Most of their "
    "values lie outside [0, 1], where the cross-entropy of a sigmoid output has no minimum: the "
    "further out the logit, the lower the cost, until Keras clips the output to [1e-7, 1 - 1e-7]. "
    "So the cost is negative, many outputs end at the clip, where they have no gradient, and since "
    "an output in (0, 1) is never below a pixel's mean, nor more than one standard deviation above "
    "it, the reconstructions are grey."
)
# With biases of zero, both ReLU units of a small code may be dead from the beginning.
_KERAS: dict[str, Any] = {
    "shallow-32": {
        "what": "784-32-784, ReLU code, sigmoid output, cross-entropy; t-SNE of the codes",
        "sizes": (PIXELS, 32),
        "title": "t-SNE of 32 ReLU units",
        "tsne": True,
    },
    "shallow-2d": {
        "what": "784-2-784, ReLU code: the codes themselves",
        "sizes": (PIXELS, 2),
        "title": "two ReLU units",
    },
    "deep-relu-2d": {
        "what": "784-512-128-2-128-512-784, ReLU throughout, cross-entropy",
        "sizes": (PIXELS, 512, 128, 2),
        "title": "deep, two ReLU units",
        "code_bias": 1.0,
    },
    "sparse-32": {
        "what": "784-32-784 with an L1 penalty on the code; t-SNE of the codes",
        "sizes": (PIXELS, 32),
        "title": "t-SNE of 32 sparse ReLU units",
        "tsne": True,
        "l1": 0.5,
    },
}
KERAS = {
    f"{name}{'-standardised' if standardised else ''}": _keras(**how, standardised=standardised)
    for name, how in _KERAS.items()
    for standardised in (False, True)
}

BATCHES_OF_32 = "an article on plain, sparse and denoising autoencoders; see results/README.md"

PLAIN = Experiment(
    what="784-128-32-128-784 for 3 epochs and 784-32-784 for 5 epochs, ReLU",
    source=BATCHES_OF_32,
    images=ARTICLE,
    models={
        "deep": _relu((PIXELS, 128, 32), Recipe(3, 32)),
        "shallow": _relu((PIXELS, 32), Recipe(5, 32)),
    },
    measures=(measures.held_out_cost("deep", "shallow", per=PER_PIXEL, what=CROSS_ENTROPY),),
    pictures={
        "reconstructions_deep": pictures.reconstructions("deep"),
        "reconstructions_shallow": pictures.reconstructions("shallow"),
        "weights_deep": pictures.filters("deep", (1, 10)),
        "weights_shallow": pictures.filters("shallow", (1, 10)),
    },
    claims=(Shown(f"deep: {CROSS_ENTROPY}"), Shown(f"shallow: {CROSS_ENTROPY}")),
)

# In its day, Keras added 1e-5 times the activity, summed over its default minibatch of 32, to a
# cost that is a mean over pixels; the loss that it shows includes this penalty.
SPARSE_L1 = Experiment(
    what="784-32-784, ReLU, with and without an L1 penalty on the code",
    source=BATCHES_OF_32,
    images=ARTICLE,
    seeds=TEN,
    models={
        "plain": _relu((PIXELS, 32), Recipe(20, 32)),
        "sparse": _relu((PIXELS, 32), Recipe(20, 32), l1=1e-5 * PIXELS * 32),
    },
    measures=(
        measures.activity("plain", "sparse"),
        measures.difference(
            measures.final_cost("plain", "sparse", per=PER_PIXEL, what="training loss"),
            "sparse: training loss",
            "plain: training loss",
            "sparse: training loss, above plain",
        ),
    ),
    pictures={
        "activity": pictures.activity_histogram({"plain": "plain", "sparse": "L1"}),
        "reconstructions": pictures.reconstructions("plain", "sparse"),
    },
    claims=(
        Reproduced("plain: mean activation", "6.6", better="neither"),
        Reproduced("sparse: mean activation", ".8", better="neither"),
        Reproduced("sparse: training loss, above plain", "+.01"),
    ),
)

SPARSE_KL = Experiment(
    what="784-196-784, KL sparsity, rho .1, beta 3, lambda 3e-3",
    source=UFLDL,
    # UFLDL halves the squared error; ours is whole, so its weights are doubled.
    models={
        "sparse": Autoencoder(
            Architecture((PIXELS, 196)),
            Recipe(60, 500, learning_rate=1e-2, decay="cosine"),
            objective="squared-error",
            kl=(6.0, 0.1),
            weight_decay=6e-3,
        )
    },
    measures=(
        measures.activity("sparse"),
        measures.local_filters("sparse"),
        measures.final_cost("sparse"),
    ),
    pictures={
        "filters": pictures.filters("sparse", (14, 14)),
        "reconstructions": pictures.reconstructions("sparse"),
    },
    claims=(
        Shown("sparse: local filters", "figure: pen strokes"),
        Shown("sparse: mean activation", "none; rho is .1"),
    ),
)


def _one_layer(**terms: Any) -> Chosen:
    """The best of several amounts, rates of pretraining and rates of fine-tuning.

    Rifai et al. choose all of them on validation images, and train until those stop improving. Of
    each amount given, several are tried.
    """
    (term, amounts), *others = terms.items()
    architecture = Architecture((PIXELS, 1000), tied=True)
    autoencoders = tuple(
        Autoencoder(
            architecture,
            Recipe(100, 20, "sgd", rate),
            gain=4.0,
            patience=10,
            **{term: amount, **dict(others)},
        )
        for amount in amounts
        for rate in (0.03, 0.1)
    )
    fine_tuning = tuple(Recipe(100, 20, "sgd", rate) for rate in (0.3, 1.0))
    return Chosen(autoencoders, fine_tuning, patience=25_000)  # ten epochs


_ONE_LAYER = {
    "AE": _one_layer(level=(None,)),
    "AE+wd": _one_layer(weight_decay=(1e-5, 1e-4, 1e-3)),
    "DAE-b": _one_layer(level=(0.1, 0.2, 0.3)),
    "DAE-g": _one_layer(level=(0.1, 0.2, 0.3), noise="gaussian"),
    "CAE": _one_layer(contract=(0.03, 0.1, 0.3)),
}
_RIFAI = {"CAE": "1.14 %", "DAE-g": "1.18 %", "DAE-b": "1.57 %", "AE+wd": "1.68 %", "AE": "1.78 %"}

CONTRACTIVE = Experiment(
    what="784-1000, tied: AE, with weight decay, denoising (masking, Gaussian) and contractive",
    source=RIFAI,
    seeds=FIVE,
    models=_ONE_LAYER,
    measures=(
        measures.jacobian_norm(*_ONE_LAYER),
        measures.local_filters(*_ONE_LAYER),
        measures.errors(*_ONE_LAYER),
    ),
    pictures={
        f"filters_{name.lower().replace('+', '_')}": pictures.filters(name) for name in _ONE_LAYER
    },
    claims=tuple(Reproduced(f"{name}: test error", error) for name, error in _RIFAI.items()),
    note="Of every kind, three amounts (of noise, of a penalty), two rates of pretraining and two "
    "of fine-tuning were tried with the first seed; the lowest validation error chose.",
)

HALF_OF_128 = 0.5 * 128  # the source's cost of a batch, from ours, which is a mean over images

GAUSSIAN_NOISE = Experiment(
    what="784-200-784, softplus, linear output, Gaussian noise of .01, standardised images",
    source="TensorFlow model garden, autoencoder",
    images=Images("standardised", with_valid=True, skip=5000),  # its 55,000
    seeds=TEN,
    models={
        "autoencoder": Autoencoder(
            Architecture((PIXELS, 200), code="softplus", output="linear"),
            Recipe(20, 128, shuffle="blocks"),
            objective="squared-error",
            noise="shared",
            level=0.01,
            zero_decoder=True,
        )
    },
    # The source's average divides the costs of 429 batches of 128 by 55,000 images.
    measures=(
        measures.final_cost(
            "autoencoder", per=HALF_OF_128 * 429 * 128 / 55_000, what="average cost of epoch 20"
        ),
        measures.total_cost("autoencoder", per=0.5, noise=0.01),
    ),
    pictures={
        "inputs": pictures.sheet("inputs"),
        "reconstructions": pictures.sheet("autoencoder"),
        "generated": pictures.generated("autoencoder"),
    },
    claims=(
        Reproduced("autoencoder: average cost of epoch 20", "7491.96"),
        Reproduced("autoencoder: total cost on test images", "675,218"),
    ),
    note="As in the source, a minibatch is a random block of consecutive images, with replacement, "
    "and all of its images get the same noise. A few images with pixels that are hardly ever on "
    "cost hundreds of times the others, so that the average of an epoch depends on how often they "
    "are drawn.",
)

NOISE = 0.4

DENOISE_GAUSSIAN = Experiment(
    what="784-128-32-128-784, Gaussian noise of .4, clipped, drawn once; clean target",
    source=BATCHES_OF_32,
    images=ARTICLE,
    models={
        "autoencoder": _relu((PIXELS, 128, 32), Recipe(10, 32), noise="fixed", level=NOISE),
    },
    measures=(measures.restoration("autoencoder", NOISE),),
    pictures={"restored": pictures.restored("autoencoder", NOISE)},
    claims=(
        Shown("autoencoder: decibels above the best filter", "none"),
        Shown("autoencoder: PSNR", "figure: original, noisy, restored"),
        Shown("autoencoder: SSIM", "figure: original, noisy, restored"),
    ),
)


def _mlp(
    seed: int,
    sizes: tuple[int, ...],
    activation: str = "tanh",
    dropout: float = 0.0,
    input_dropout: float = 0.0,
    deviation: float | None = None,
    zero_top: bool | None = None,
) -> Any:
    """A multilayer perceptron; its seven parameters stand in the declaration."""
    from flax import nnx

    from dae_jax import supervised
    from dae_jax.deep import ACTIVATIONS

    return supervised.MLP(
        sizes,
        ACTIVATIONS[activation],
        dropout,
        input_dropout=input_dropout,
        deviation=deviation,
        zero_top=zero_top,
        rngs=nnx.Rngs(seed),
    )


def _tutorial_mlp(seed: int, sizes: tuple[int, int, int]) -> Any:
    """The tutorial's network, with its weights: NumPy's, of that seed."""
    from dae_jax import supervised

    return supervised.tutorial_mlp(seed, *sizes)


def _lenet(
    seed: int,
    kernels: tuple[int, int],
    units: int,
    activation: str = "tanh",
    padding: str = "VALID",
    dropout: float = 0.0,
    deviation: float | None = None,
    bias: float = 0.0,
) -> Any:
    """A LeNet; its eight parameters stand in the declaration."""
    from flax import nnx

    from dae_jax import supervised
    from dae_jax.deep import ACTIVATIONS

    return supervised.LeNet(
        kernels,
        units,
        activation=ACTIVATIONS[activation],
        padding=padding,
        dropout=dropout,
        deviation=deviation,
        bias=bias,
        rngs=nnx.Rngs(seed),
    )


def _theano_lenet(seed: int, kernels: tuple[int, int], units: int) -> Any:
    """The tutorial's LeNet, with its weights: NumPy's, of that seed."""
    from dae_jax import supervised

    return supervised.TheanoLeNet(seed, kernels, units)


_softmax = partial(_mlp, sizes=(PIXELS, 10))
_lenet_2000 = partial(
    _lenet,
    kernels=(32, 64),
    units=1024,
    activation="relu",
    padding="SAME",
    dropout=0.5,
    deviation=0.1,
    bias=0.1,
)


def _in_order(epochs: int, batch_size: int, rate: float) -> Recipe:
    """Plain gradient descent in the order of the file, as in all of the tutorials."""
    return Recipe(epochs, batch_size, "sgd", rate, shuffle=False)


SOFTMAX = Experiment(
    what="softmax regression, 1,000 steps",
    source="TensorFlow tutorial, MNIST for beginners",
    images=TENSORFLOW,
    seeds=TEN,
    models={
        "1,000 steps": Network(_softmax, Recipe(None, 100, "sgd", 0.5, steps=1000), choose=False)
    },
    measures=(measures.errors("1,000 steps"),),
    pictures={"mistakes": pictures.mistakes("1,000 steps")},
    claims=(Reproduced("1,000 steps: test error", "8 %"),),  # an accuracy of 92 %
)

LOGISTIC_SGD = Experiment(
    what="softmax regression to the end of its patience",
    source="deeplearning.net, logistic_sgd",
    images=Images(pixel_scale=256, batches_of=600),
    seeds=(1,),  # nothing is random: the weights begin at zero
    models={"logistic_sgd": Network(_softmax, _in_order(1000, 600, 0.13), patience=5000)},
    measures=(measures.errors("logistic_sgd"),),
    pictures={"mistakes": pictures.mistakes("logistic_sgd")},
    claims=(
        Reproduced("logistic_sgd: validation error", "7.50 %", exact=True),
        Reproduced("logistic_sgd: test error", "7.49 %", exact=True),
    ),
)

MLP_3000 = Experiment(
    what="784-300-10, ReLU, dropout, 3,000 steps",
    source="a TensorFlow tutorial, MLP",
    images=TENSORFLOW,
    seeds=TEN,
    models={
        "3,000 steps": Network(
            partial(
                _mlp,
                sizes=(PIXELS, 300, 10),
                activation="relu",
                dropout=0.25,
                deviation=0.1,
                zero_top=True,
            ),
            Recipe(None, 100, "adagrad", 0.3, steps=3000),
            choose=False,
        )
    },
    measures=(measures.errors("3,000 steps"),),
    pictures={"mistakes": pictures.mistakes("3,000 steps")},
    claims=(Reproduced("3,000 steps: test error", "2.15 %"),),  # an accuracy of 97.85 %
)

MLP = Experiment(
    what="784-500-10, tanh, weight decay: mlp.py replayed",
    source="deeplearning.net, mlp",
    images=Images(pixel_scale=256),
    seeds=(1234,),  # the script's own; without dropout nothing else is random
    models={
        # the tutorial's L2 coefficient, 1e-4, has no half
        "mlp": Network(
            partial(_tutorial_mlp, sizes=(PIXELS, 500, 10)),
            _in_order(1000, 20, 0.01),
            weight_decay=2e-4,
            patience=10_000,
        )
    },
    measures=(measures.errors("mlp"),),
    pictures={"mistakes": pictures.mistakes("mlp")},
    claims=(
        Reproduced("mlp: validation error", "1.69 %", exact=True),
        Reproduced("mlp: test error", "1.65 %", exact=True),
    ),
)

MLP_DROPOUT = Experiment(
    what="784-500-10, tanh, dropout of pixels and units",
    source=MLP.source,
    images=Images(pixel_scale=256),
    models={
        "mlp": Network(
            partial(_mlp, sizes=(PIXELS, 500, 10), dropout=0.25, input_dropout=0.1),
            Recipe(45, 20, "sgd", 0.2, decay="cosine"),
        )
    },
    measures=(measures.errors("mlp"),),
    pictures={"mistakes": pictures.mistakes("mlp")},
    claims=(
        Improved(
            "mlp: test error",
            "1.65 %",
            differs="dropout instead of weight decay; 45 epochs in a new order each, at a rate of "
            ".2 that falls to zero, instead of 1,000 at .01",
            chosen="validation images, seeds 1 to 3",
        ),
    ),
)

LENET_2000 = Experiment(
    what="LeNet: 32-64 kernels, ReLU, dropout, 2,000 steps",
    source="TensorFlow tutorial, deep MNIST",
    images=TENSORFLOW,
    seeds=TEN,
    models={
        "2,000 steps": Network(
            _lenet_2000, Recipe(None, 50, "adam", 1e-4, steps=2000), choose=False, part=10
        ),
        "larger rate": Network(
            _lenet_2000, Recipe(None, 50, "adam", 3e-4, steps=2000), choose=False, part=10
        ),
    },
    measures=(measures.errors("2,000 steps", "larger rate"),),
    pictures={"mistakes": pictures.mistakes("2,000 steps")},
    claims=(
        Reproduced("2,000 steps: test error", "2.52 %"),  # an accuracy of 97.48 %
        Improved(
            "larger rate: test error",
            "2.52 %",
            differs="a learning rate of 3e-4 instead of 1e-4",
            chosen="validation images, out of 1e-4, 2e-4 and 3e-4, seeds 1 to 3",
        ),
    ),
)

LENET = Experiment(
    what="LeNet: 20-50 kernels, tanh, to the end of its patience",
    source="deeplearning.net, convolutional_mlp",
    images=Images(pixel_scale=256),
    seeds=SIX,
    models={
        "lenet": Network(
            partial(_lenet, kernels=(20, 50), units=500),
            _in_order(200, 500, 0.1),
            patience=10_000,
            part=25,
        )
    },
    measures=(measures.errors("lenet"),),
    pictures={"mistakes": pictures.mistakes("lenet")},
    claims=(
        Reproduced("lenet: validation error", ".91 %"),
        Reproduced("lenet: test error", ".92 %"),
    ),
)

LENET_REPLAY = Experiment(
    what="LeNet: convolutional_mlp.py replayed",
    source=LENET.source,
    images=LENET.images,
    seeds=(23455,),  # the script's own; nothing else is random
    models={
        "lenet": Network(
            partial(_theano_lenet, kernels=(20, 50), units=500),
            _in_order(200, 500, 0.1),
            patience=10_000,
            part=25,
        )
    },
    measures=LENET.measures,
    pictures=LENET.pictures,
    claims=(
        Reproduced("lenet: validation error", ".91 %", exact=True),
        Reproduced("lenet: test error", ".92 %", exact=True),
    ),
    note="The script's own initial weights, and Theano's gradient of max-pooling, which each of "
    "several tied pixels gets whole.",
)

RASMUS = "Rasmus, Berglund, Honkala, Valpola & Raiko, NIPS 2015"


def _ladder(labels: int | None, weights: tuple[float, ...], noise: float, epochs: int) -> Ladder:
    """The network of the article, with noise of .3 at the pixels."""
    return Ladder(
        (1000, 500, 250, 250, 250),
        labels,
        weights,
        (0.3, noise),
        Recipe(epochs, 100, "adam", 2e-3, decay="last third"),
    )


_WEIGHTS = {  # of the full model, from the pixels up
    100: (1000.0, 10.0, *[0.1] * 5),
    1_000: (2000.0, 20.0, *[0.1] * 5),
    None: (1000.0, 1.0, *[0.01] * 5),
}
_NOISE = {100: 0.3, 1_000: 0.2, None: 0.3}  # above the pixels
_PUBLISHED = {100: "1.06 %", 1_000: ".84 %", None: ".57 %"}


def _ladder_with(labels: int | None) -> Experiment:
    """The full model with so many labels."""
    return Experiment(
        what=f"ladder network, 784-1000-500-250-250-250-10, {labels or 'all'} labels, 150 epochs",
        source=RASMUS,
        images=ARTICLE,
        seeds=FIVE if labels == 100 else THREE,
        models={"ladder": _ladder(labels, _WEIGHTS[labels], _NOISE[labels], 150)},
        measures=(measures.errors("ladder"),),
        pictures={"mistakes": pictures.mistakes("ladder")},
        claims=(Reproduced("ladder: test error", _PUBLISHED[labels]),),
        note="The published numbers are means of ten seeds. As in the authors' code, predictions "
        "normalise with the statistics of the labelled images.",
    )


LADDER_MODELS = Experiment(
    what="the ladder network's three models, 100 labels, 50 epochs: full, bottom, Gamma",
    source=RASMUS,
    images=ARTICLE,
    seeds=THREE,
    models={
        "full": _ladder(100, _WEIGHTS[100], 0.3, 50),
        "bottom": _ladder(100, (5000.0, *[0.0] * 6), 0.3, 50),
        "Gamma": _ladder(100, (*[0.0] * 6, 0.5), 0.3, 50),
    },
    measures=(measures.errors("full", "bottom", "Gamma"),),
    pictures={"mistakes": pictures.mistakes("full")},
    claims=(
        Shown("full: test error", "1.06 % after 150 epochs"),
        Shown("bottom: test error", "1.09 % after 150 epochs"),
        Shown("Gamma: test error", "3.06 % after 150 epochs"),
    ),
    note="A third of the published length.",
)

EXPERIMENTS: dict[str, Experiment] = {
    "da-filters": DA_FILTERS,
    "noise-levels": NOISE_LEVELS,
    "regenerated": REGENERATED,
    "natural-patches": PATCHES,
    "deep-2d": DEEP_2D,
    "deep-2d-linear": DEEP_2D_LINEAR,
    "deep-30d": DEEP_30D,
    "deep-2d-pretrained": DEEP_2D_PRETRAINED,
    **KERAS,
    "plain": PLAIN,
    "sparse-l1": SPARSE_L1,
    "sparse-kl": SPARSE_KL,
    "contractive": CONTRACTIVE,
    "gaussian-noise": GAUSSIAN_NOISE,
    "denoise-gaussian": DENOISE_GAUSSIAN,
    "softmax": SOFTMAX,
    "logistic-sgd": LOGISTIC_SGD,
    "mlp-3000": MLP_3000,
    "mlp": MLP,
    "mlp-dropout": MLP_DROPOUT,
    "lenet-2000": LENET_2000,
    "lenet": LENET,
    "lenet-replay": LENET_REPLAY,
    "ladder-models": LADDER_MODELS,
    "ladder-100": _ladder_with(100),
    "ladder-1000": _ladder_with(1_000),
    "ladder-all": _ladder_with(None),
}
"""All experiments by the name that the command takes."""
