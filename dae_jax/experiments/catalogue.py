"""The experiments of the articles behind this project, each as a declaration.

A declaration says what is trained (`models`), measured (`measures`) and drawn (`pictures`), and
what was published: each number with the band that the mean over the seeds must lie in. `experiment`
runs it for ``python -m dae_jax.reproduce``.
"""

from functools import partial
from typing import Any

from dae_jax.deep import Architecture
from dae_jax.experiments import measures, pictures
from dae_jax.experiments.data import Images
from dae_jax.experiments.experiment import Claim, Experiment
from dae_jax.experiments.measures import Measure
from dae_jax.experiments.models import PCA, Autoencoder, Finetuned, Network, Recipe, Stack

__all__ = ["EXPERIMENTS"]

ARTICLE = Images(with_valid=True)  # all 60,000 training images, tested on the 10,000 others
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
    seeds=(123, 124, 125),
    models={"0 %": _da(None), "30 %": _da(0.3)},
    measures=(measures.final_cost("0 %", "30 %"), measures.local_filters("0 %", "30 %")),
    pictures={
        "filters_0": pictures.filters("0 %"),
        "filters_30": pictures.filters("30 %"),
        "same_units": pictures.same_units("0 %", "30 %"),
    },
    claims=(
        Claim("0 %: cost", "52.43952 (Theano, seed 123)", 52.43899, 52.44004, of="first"),
        Claim("30 %: cost", "65.604 (Theano, seed 123)", 65.5, 65.7),
        Claim("0 %: local filters", "figure", high=0.2),
        Claim("30 %: local filters", "figure", low=0.4),
    ),
)

DEEP_2D = Experiment(
    what="784-512-128-2-128-512-784, ELU, linear code, against PCA with 2 components",
    source="an article on autoencoders and PCA; see results/README.md",
    images=ARTICLE,
    models={
        "pca": PCA(2),
        "deep": Autoencoder(
            Architecture((PIXELS, 512, 128, 2), hidden="elu", code="linear"),
            Recipe(5, 128),
            objective="squared-error",
        ),
    },
    measures=(
        measures.pixel_error("pca", "deep"),
        measures.neighbours("pca", "deep"),
    ),
    pictures={
        "maps": pictures.scatter({"pca": "PCA", "deep": "deep autoencoder"}),
        "reconstructions": pictures.reconstructions("pca", "deep"),
        "loss": pictures.loss_curves("deep", per=1 / PIXELS, label="error per pixel, held-out"),
    },
    claims=(
        Claim("pca: training error per pixel", ".056", 0.0555, 0.0565),
        Claim("deep: held-out error per pixel", ".0407", high=0.0407),
        Claim("deep: 10-nearest-neighbour accuracy", "figure", low=0.7),
        Claim("pca: 10-nearest-neighbour accuracy", "figure", 0.4, 0.5),
    ),
)

DEEP_2D_LINEAR = Experiment(
    what="the same net with linear units only, against PCA",
    source=DEEP_2D.source,
    images=ARTICLE,
    models={
        "pca": PCA(2),
        "linear": Autoencoder(
            Architecture((PIXELS, 512, 128, 2), hidden="linear", code="linear", output="linear"),
            Recipe(10, 128, decay="cosine"),
            objective="squared-error",
        ),
    },
    measures=(
        measures.ratio(
            measures.pixel_error("pca", "linear"),
            "linear: training error per pixel",
            "pca: training error per pixel",
            "linear: times the error of PCA",
        ),
        measures.principal_angle("linear", "pca"),
    ),
    pictures={"maps": pictures.scatter({"pca": "PCA", "linear": "linear autoencoder"})},
    claims=(
        Claim("linear: training error per pixel", "that of PCA, .056", 0.0555, 0.0565),
        Claim("linear: times the error of PCA", "1", 0.9999, 1.01),
        Claim("linear: largest principal angle", "0 degrees", high=5),
    ),
)


def _hinton(code: int) -> Autoencoder:
    return Autoencoder(
        Architecture((PIXELS, 1000, 500, 250, code), code="linear"),
        Recipe(60 if code > 2 else 12, 250, learning_rate=2e-3, decay="cosine"),
        after=Stack(Recipe(10, 50, "sgd"), (0.2, 0.2, 0.2, 0.01), level=0.1),
    )


DEEP_30D = Experiment(
    what="784-1000-500-250-30, pretrained as a stack of dAs, unrolled, fine-tuned",
    source=HINTON,
    images=ARTICLE,
    models={
        "pca": PCA(30),
        "logistic pca": Autoencoder(
            Architecture((PIXELS, 30), code="linear"), Recipe(20, 100, decay="cosine")
        ),
        "deep": _hinton(30),
    },
    measures=(
        measures.image_error("pca", "logistic pca", "deep"),
        measures.neighbours("pca", "deep"),
    ),
    pictures={"reconstructions": pictures.reconstructions("deep", "logistic pca", "pca")},
    claims=(
        Claim("deep: error per image", "3.00", high=3.0),
        Claim("logistic pca: error per image", "8.01", 7.0, 9.0),
        Claim("pca: error per image", "13.87", 13.6, 14.1),
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
        Claim("deep: 10-nearest-neighbour accuracy", "figure 3B", low=0.7),
        Claim("pca: 10-nearest-neighbour accuracy", "figure 3A", 0.4, 0.5),
    ),
)


def _relu(sizes: tuple[int, ...], **terms: Any) -> Autoencoder:
    architecture = Architecture(sizes, hidden="relu", code="relu")
    return Autoencoder(architecture, Recipe(10, 256), **terms)


PER_PIXEL = 1 / PIXELS
CROSS_ENTROPY = "cross-entropy per pixel"


def _of_the_codes(name: str) -> tuple[Measure, ...]:
    return (
        measures.held_out_cost(name, per=PER_PIXEL, what=CROSS_ENTROPY),
        measures.silhouette(name),
        measures.neighbours(name),
        measures.activity(name),
    )


SHALLOW_32 = Experiment(
    what="784-32-784, ReLU code, sigmoid output, cross-entropy; t-SNE of the codes",
    source="an article on autoencoders in Keras; see results/README.md",
    images=ARTICLE,
    models={"shallow": _relu((PIXELS, 32))},
    measures=(
        measures.held_out_cost("shallow", per=PER_PIXEL, what=CROSS_ENTROPY),
        measures.silhouette("shallow"),
        measures.neighbours("shallow"),
        measures.tsne_compactness("shallow"),
        measures.standardised_targets,
    ),
    pictures={
        "tsne": pictures.tsne_scatter("shallow", "t-SNE of 32 ReLU units"),
        "reconstructions": pictures.reconstructions("shallow"),
    },
    claims=(
        Claim(f"shallow: {CROSS_ENTROPY}", "figure", high=0.11),
        Claim("shallow: 10-nearest-neighbour accuracy after t-SNE", "figure", low=0.93),
    ),
    note="Standardised targets leave [0, 1], where the cross-entropy of a sigmoid has no minimum: "
    "the further out the logits, the lower the cost, without end. Hence images in [0, 1].",
)

SHALLOW_2D = Experiment(
    what="784-2-784, ReLU code: the codes themselves",
    source=SHALLOW_32.source,
    images=ARTICLE,
    models={"shallow": _relu((PIXELS, 2))},
    measures=_of_the_codes("shallow"),
    pictures={"map": pictures.scatter({"shallow": "two ReLU units"})},
    claims=(Claim("shallow: 10-nearest-neighbour accuracy", "figure", low=0.3),),
)

DEEP_RELU_2D = Experiment(
    what="784-512-128-2-128-512-784, ReLU throughout, cross-entropy",
    source=SHALLOW_32.source,
    images=ARTICLE,
    models={"deep": _relu((PIXELS, 512, 128, 2), code_bias=1.0)},
    measures=_of_the_codes("deep"),
    pictures={"map": pictures.scatter({"deep": "deep, two ReLU units"})},
    claims=(Claim("deep: 10-nearest-neighbour accuracy", "figure", low=0.6),),
)

SPARSE_32 = Experiment(
    what="784-32-784 with an L1 penalty on the code; t-SNE of the codes",
    source=SHALLOW_32.source,
    images=ARTICLE,
    models={"plain": _relu((PIXELS, 32)), "sparse": _relu((PIXELS, 32), l1=0.5)},
    measures=(
        measures.held_out_cost("plain", "sparse", per=PER_PIXEL, what=CROSS_ENTROPY),
        measures.activity("plain", "sparse"),
        measures.silhouette("sparse"),
        measures.neighbours("sparse"),
        measures.tsne_compactness("sparse"),
    ),
    pictures={
        "tsne": pictures.tsne_scatter("sparse", "t-SNE of 32 sparse ReLU units"),
        "activity": pictures.activity_histogram({"plain": "plain", "sparse": "L1"}),
    },
    claims=(
        Claim("sparse: mean activation", "figure", high=2),
        Claim("sparse: 10-nearest-neighbour accuracy after t-SNE", "figure", low=0.9),
    ),
)

# In its day, Keras added 1e-5 times the activity, summed over its default minibatch of 32, to a
# cost that is a mean over pixels.
SPARSE_L1 = Experiment(
    what="784-128-32-128-784, ReLU, with and without an L1 penalty on the code",
    source="an article on sparse autoencoders; see results/README.md",
    images=ARTICLE,
    models={
        "plain": _relu((PIXELS, 128, 32)),
        "sparse": _relu((PIXELS, 128, 32), l1=1e-5 * PIXELS * 32),
    },
    measures=(
        measures.activity("plain", "sparse"),
        measures.difference(
            measures.held_out_cost("plain", "sparse", per=PER_PIXEL, what=CROSS_ENTROPY),
            f"sparse: {CROSS_ENTROPY}",
            f"plain: {CROSS_ENTROPY}",
            f"sparse: {CROSS_ENTROPY}, above plain",
        ),
    ),
    pictures={
        "activity": pictures.activity_histogram({"plain": "plain", "sparse": "L1"}),
        "reconstructions": pictures.reconstructions("plain", "sparse"),
    },
    claims=(
        Claim("plain: mean activation", "6.6", 5, 9),
        Claim("sparse: mean activation", ".8", 0.4, 1.2),
        Claim(f"sparse: {CROSS_ENTROPY}, above plain", "+.01", high=0.01),
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
        Claim("sparse: mean activation", "rho = .1", 0.08, 0.12),
        Claim("sparse: local filters", "figure: pen strokes", low=0.5),
    ),
)


def _one_layer(**terms: Any) -> Autoencoder:
    architecture = Architecture((PIXELS, 1000), tied=True)
    return Autoencoder(architecture, Recipe(8, 20, "sgd", 0.1), gain=4.0, **terms)


_ONE_LAYER = {
    "AE": _one_layer(),
    "AE+wd": _one_layer(weight_decay=1e-4),
    "DAE-b": _one_layer(level=0.3),
    "DAE-g": _one_layer(noise="gaussian", level=0.3),
    "CAE": _one_layer(contract=0.1),
}
_TUNED = Recipe(10, 20, "sgd", 1.0, decay="cosine")

CONTRACTIVE = Experiment(
    what="784-1000, tied: AE, with weight decay, denoising (masking, Gaussian) and contractive",
    source=RIFAI,
    models={
        **_ONE_LAYER,
        **{f"{name} fine-tuned": Finetuned(name, _TUNED) for name in _ONE_LAYER},
    },
    measures=(
        measures.jacobian_norm(*_ONE_LAYER),
        measures.local_filters(*_ONE_LAYER),
        measures.errors(*(f"{name} fine-tuned" for name in _ONE_LAYER)),
    ),
    pictures={
        f"filters_{name.lower().replace('+', '_')}": pictures.filters(name) for name in _ONE_LAYER
    },
    claims=(
        Claim("CAE fine-tuned: test error", "1.14 %", high=0.016),
        Claim("DAE-g fine-tuned: test error", "1.18 %", high=0.016),
        Claim("DAE-b fine-tuned: test error", "1.57 %", high=0.0179),
        Claim("AE+wd fine-tuned: test error", "1.68 %", high=0.019),
        Claim("AE fine-tuned: test error", "1.78 %", high=0.02),
    ),
)

GAUSSIAN_NOISE = Experiment(
    what="784-200-784, softplus, linear output, Gaussian noise of .01, standardised images",
    source="TensorFlow model garden, autoencoder",
    images=Images("standardised", with_valid=True, skip=5000),  # its 55,000
    models={
        "autoencoder": Autoencoder(
            Architecture((PIXELS, 200), code="softplus", output="linear"),
            Recipe(20, 128),
            objective="squared-error",
            noise="gaussian",
            level=0.01,
            zero_decoder=True,
        )
    },
    # The source's cost is half the squared error, summed over a batch of 128, or over all images.
    measures=(
        measures.final_cost("autoencoder", per=0.5 * 128, what="average cost of epoch 20"),
        measures.total_cost("autoencoder", per=0.5),
        measures.block_spread("autoencoder", 128, per=0.5),
    ),
    pictures={
        "inputs": pictures.sheet("inputs"),
        "reconstructions": pictures.sheet("autoencoder"),
        "generated": pictures.generated("autoencoder"),
    },
    claims=(
        Claim("autoencoder: average cost of epoch 20", "7491.96", high=8300),
        Claim("autoencoder: total cost on test images", "675,218", high=692_100),
    ),
    note="The source draws its batches as random blocks of the file, with replacement. A few "
    "images with pixels that are hardly ever on cost hundreds of times the others, so that an "
    "epoch's average varies with the blocks (see the spread); the band of the average is two such "
    "deviations wide.",
)

NOISE = 0.5

DENOISE_GAUSSIAN = Experiment(
    what="784-128-32-128-784, Gaussian noise of .5 on the input, clean target",
    source=SPARSE_L1.source,
    images=ARTICLE,
    models={
        "autoencoder": _relu((PIXELS, 128, 32), noise="gaussian", level=NOISE),
    },
    measures=(measures.restoration("autoencoder", NOISE),),
    pictures={"restored": pictures.restored("autoencoder", NOISE)},
    claims=(Claim("autoencoder: decibels above the best filter", "figure", low=0.5),),
)


def _mlp(*sizes: int, activation: str = "tanh", **how: Any) -> Any:
    from dae_jax import supervised
    from dae_jax.deep import ACTIVATIONS

    return supervised.MLP(sizes, ACTIVATIONS[activation], **how)


def _lenet(activation: str = "tanh", **how: Any) -> Any:
    from dae_jax import supervised
    from dae_jax.deep import ACTIVATIONS

    return supervised.LeNet(activation=ACTIVATIONS[activation], **how)


SOFTMAX = Experiment(
    what="softmax regression: 1,000 steps; and the tutorial's, to its end",
    source="TensorFlow tutorial, MNIST for beginners; deeplearning.net, logistic_sgd",
    images=Images(pixel_scale=256),
    models={
        "1,000 steps": Network(partial(_mlp, PIXELS, 10), Recipe(2, 100, "sgd", 0.5), choose=False),
        "logistic_sgd": Network(
            partial(_mlp, PIXELS, 10), Recipe(73, 600, "sgd", 0.13, shuffle=False)
        ),
    },
    # Its patience ends in the 74th epoch, before another look at the validation images.
    # logistic_sgd leaves the last 400 of 10,000 images out, which do not fill a batch of 600.
    measures=(measures.errors("1,000 steps"), measures.errors("logistic_sgd", first=9600)),
    pictures={"mistakes": pictures.mistakes("logistic_sgd")},
    claims=(
        Claim("1,000 steps: test error", "8 %", high=0.085),
        Claim("logistic_sgd: validation error", "7.50 %", 0.0749, 0.0751),
        Claim("logistic_sgd: test error", "7.49 %", 0.0748, 0.075),
    ),
)

MLP = Experiment(
    what="784-300-10, ReLU, dropout, 3,000 steps; and the tutorial's 784-500-10, tanh",
    source="a TensorFlow tutorial; deeplearning.net, mlp",
    models={
        "3,000 steps": Network(
            partial(_mlp, PIXELS, 300, 10, activation="relu", dropout=0.25),
            Recipe(6, 100, "adagrad", 0.3, decay="cosine"),
            choose=False,
        ),
        "mlp": Network(
            partial(_mlp, PIXELS, 500, 10, dropout=0.25, input_dropout=0.1),
            Recipe(45, 20, "sgd", 0.2, decay="cosine"),
        ),
    },
    measures=(measures.errors("3,000 steps", "mlp"),),
    pictures={"mistakes": pictures.mistakes("mlp")},
    claims=(
        Claim("3,000 steps: test error", "2.15 %", high=0.0215),
        Claim("mlp: test error", "1.65 %", high=0.0165),
    ),
    note="The tutorial's network, with dropout of pixels and units, which the validation images "
    "prefer to its weight decay of 1e-4; a few epochs at a higher rate than its thousand at .01.",
)

LENET = Experiment(
    what="LeNet: 32-64 kernels, dropout, 2,000 steps; and the tutorial's 20-50 kernels, tanh",
    source="TensorFlow tutorial, deep MNIST; deeplearning.net, convolutional_mlp",
    models={
        "2,000 steps": Network(
            partial(
                _lenet,
                kernels=(32, 64),
                units=1024,
                activation="relu",
                padding="SAME",
                dropout=0.5,
                deviation=0.1,
                bias=0.1,
            ),
            Recipe(2, 50, "adam", 3e-4),
            choose=False,
        ),
        "lenet": Network(_lenet, Recipe(20, 50, "momentum", 0.02, decay="cosine")),
    },
    measures=(measures.errors("2,000 steps", "lenet"),),
    pictures={"mistakes": pictures.mistakes("lenet")},
    claims=(
        Claim("2,000 steps: test error", "2.52 %", high=0.0252),
        Claim("lenet: test error", ".92 %", high=0.009),
    ),
    note="The source takes its 2,000 steps at a rate of 1e-4, which is short of what they can do: "
    "3e-4 was chosen on the validation images, out of 1e-4, 2e-4 and 3e-4.",
)

EXPERIMENTS: dict[str, Experiment] = {
    "da-filters": DA_FILTERS,
    "deep-2d": DEEP_2D,
    "deep-2d-linear": DEEP_2D_LINEAR,
    "deep-30d": DEEP_30D,
    "deep-2d-pretrained": DEEP_2D_PRETRAINED,
    "shallow-32": SHALLOW_32,
    "shallow-2d": SHALLOW_2D,
    "deep-relu-2d": DEEP_RELU_2D,
    "sparse-32": SPARSE_32,
    "sparse-l1": SPARSE_L1,
    "sparse-kl": SPARSE_KL,
    "contractive": CONTRACTIVE,
    "gaussian-noise": GAUSSIAN_NOISE,
    "denoise-gaussian": DENOISE_GAUSSIAN,
    "softmax": SOFTMAX,
    "mlp": MLP,
    "lenet": LENET,
}
"""All experiments by the name that the command takes."""
