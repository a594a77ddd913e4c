"""Write the digits of the demonstration: the first five test images of each class of MNIST.

python docs/demo_digits.py docs/_static/demo/digits.safetensors
"""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from dae_jax import datasets
from dae_jax.files import write_whole

images, labels = datasets.load("mnist").test
first = np.concatenate([np.flatnonzero(labels == digit)[:5] for digit in range(10)])
tensors = {"images": np.asarray(images)[first], "labels": labels[first].astype(np.uint8)}
print(write_whole(Path(sys.argv[1]), save(tensors)))
