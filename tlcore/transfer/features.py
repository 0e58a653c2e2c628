"""A network as a fixed feature extractor: chop off the head, use the neck, train any classifier on it.

Lecture "Reusing features"; Razavian et al. 2014 (arXiv:1403.6382), Donahue et al. 2014 (arXiv:1310.1531).
"""

from __future__ import annotations

import copy
import hashlib
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from torch import nn
from torch.nn import functional as F

from tlcore import runtime
from tlcore.transfer import cache as disk
from tlcore.transfer.cut import Cut, Cutter, Pool, content
from tlcore.worlds import Dataset

Features = NDArray[np.float32]
Images = torch.Tensor | NDArray[Any] | Dataset
_FORMAT = "features 1"  # to be changed when the same arguments come to give other numbers


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """What a network computes at one layer, as a scikit-learn transformer.

    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from sklearn.svm import LinearSVC
    >>> from tlcore import worlds, zoo
    >>> data = worlds.Shapes(shapes=("circle", "star")).sample(40)
    >>> net = zoo.get_model("resnet20")
    >>> FeatureExtractor(net, "neck", device="cpu").transform(data).shape      # (N, 3, H, W) -> (N, F)
    (40, 64)
    >>> FeatureExtractor(net, "layer1.0", pool=4, device="cpu").transform(data).shape
    (40, 256)
    >>> svm = make_pipeline(FeatureExtractor(net, "neck", device="cpu"), StandardScaler(), LinearSVC(C=0.01))
    >>> svm.fit(data, data.targets).predict(data).shape
    (40,)

    Parameters
    ----------
    model
        Any nn.Module. It is only read, in evaluation mode, without gradients; copies by `sklearn.base.clone` share it.
    layer
        A torch.fx node name, a module path (the output of its last call), "input" or "neck" (the input of the last
        linear layer). Layers behind it are not computed.
    pool
        How maps (N, C, H, W) become vectors: "mean" or "max" over all places, (N, C); a number n for means over a
        grid of n x n, (N, C n n); "flatten", (N, C H W). Vectors stay as they are.
    batch_size
        Images at a time. Where the device's memory does not suffice it is halved, with a warning; it changes no result.
    device
        Default `tlcore.device()`.
    mean, std
        Numbers, or one per channel, that the network's images were normalised with; bytes are divided by 255 before.
        Networks that take x / 127.5 - 1 want 0.5 and 0.5.
    size
        Height and width (or one number for both) that images are resized to before, by bilinear interpolation.
    cache
        A folder that keeps features under a hash of all they depend on: images, options, and whatever of the network
        is needed up to the layer. Broken files are made anew.

    Raises
    ------
    ValueError, TypeError
        For an unknown layer, with the nearest; an option or images that are not accepted; NaN in images (with their
        rows) or in features.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str = "neck",
        *,
        pool: Pool = "mean",
        batch_size: int = 256,
        device: torch.device | str | None = None,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        size: int | tuple[int, int] | None = None,
        cache: str | Path | None = None,
    ) -> None:
        self.model, self.layer, self.pool, self.batch_size, self.device = model, layer, pool, batch_size, device
        self.mean, self.std, self.size, self.cache = mean, std, size, cache

    def fit(self, X: Images, y: Any = None) -> FeatureExtractor:
        """Learn nothing; check the arguments and that the network can work on the first image."""
        options = self._options()
        self.n_features_out_ = options.run(self.model, [self.layer], images(X, options.function)[:1])[0].shape[1]
        return self

    def transform(self, X: Images) -> Features:
        """Features (N, F), float32, of images (N, C, H, W): bytes, or floats as the network takes them.

        Vectors (N, F) do as well, for networks that take such.
        """
        return self._options().run(self.model, [self.layer], images(X, "FeatureExtractor.transform"))[0]

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[Any]:
        """The layer's name and a number, such as "neck_0"."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self, "n_features_out_")
        return np.array([f"{self.layer}_{n}" for n in range(self.n_features_out_)], dtype=object)

    def _options(self) -> Options:
        return Options(
            self.pool, self.batch_size, self.device, self.mean, self.std, self.size, self.cache, "FeatureExtractor"
        )

    def __sklearn_is_fitted__(self) -> bool:
        return True  # there is nothing to learn

    def __sklearn_clone__(self) -> FeatureExtractor:
        twin = type(self)(**self.get_params(deep=False))
        if hasattr(self, "_sklearn_output_config"):
            twin._sklearn_output_config = copy.copy(self._sklearn_output_config)
        return twin

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags


@dataclass(frozen=True)
class Options:
    """How features are taken, checked; see `FeatureExtractor`.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> [part.shape for part in Options(device="cpu").run(net, ["0", "2"], torch.rand(6, 3, 9, 9))]
    [(6, 8), (6, 4)]
    """

    pool: Pool = "mean"
    batch_size: int = 256
    device: torch.device | str | None = None
    mean: float | Sequence[float] = 0.0
    std: float | Sequence[float] = 1.0
    size: int | tuple[int, int] | None = None
    cache: str | Path | None = None
    function: str = "features"

    def __post_init__(self) -> None:
        say = self.function
        whole = type(self.pool) is int and self.pool >= 1
        if not whole and self.pool not in get_args(get_args(Pool)[0]):
            raise ValueError(f"{say}(pool={self.pool!r}): accepted are 'mean', 'max', 'flatten' and numbers from 1 on")
        if type(self.batch_size) is not int or self.batch_size < 1:
            raise ValueError(f"{say}(batch_size={self.batch_size!r}): a whole number from 1 on is accepted")
        if self.size is not None and (len(self._sides) != 2 or min(self._sides) < 1):
            raise ValueError(f"{say}(size={self.size!r}): a number from 1 on, or height and width, is accepted")
        if not (np.asarray(self.std) > 0).all():
            raise ValueError(f"{say}(std={self.std!r}): numbers above 0 are accepted")

    @property
    def _sides(self) -> tuple[int, ...]:
        return (self.size, self.size) if isinstance(self.size, int) else tuple(self.size or ())

    @property
    def place(self) -> torch.device:
        """Where the network runs."""
        return runtime.device() if self.device is None else torch.device(self.device)

    def resized(self, batch: torch.Tensor) -> torch.Tensor:
        """Images in the size that the network is to see, as floats of their own."""
        x = batch.float() / 255 if batch.dtype == torch.uint8 else batch.to(torch.float32, copy=True)
        if self.size is None or tuple(x.shape[2:]) == self._sides:
            return x
        if x.ndim != 4:
            raise ValueError(f"{self.function}(size={self.size}): only images (N, C, H, W) can be resized")
        return F.interpolate(x, self._sides, mode="bilinear", antialias=True, align_corners=False)

    def normalised(self, x: torch.Tensor) -> torch.Tensor:
        """Images minus `mean`, divided by `std`."""
        numbers = [torch.as_tensor(n, dtype=torch.float32, device=x.device) for n in (self.mean, self.std)]
        for name, n in zip(("mean", "std"), numbers, strict=True):
            if n.ndim > 1 or (n.ndim == 1 and len(n) not in (1, x.shape[1])):
                raise ValueError(f"{self.function}({name}=…): one number, or one for each of {x.shape[1]} channels")
        mean, std = (n.view(-1, *[1] * (x.ndim - 2)) if n.ndim else n for n in numbers)
        return (x - mean) / std

    def run(self, model: nn.Module, layers: Sequence[str], x: torch.Tensor | NDArray[Any]) -> list[Features]:
        """Features of several layers in one pass, one array (N, F) each."""
        cutter = Cutter(model, device=self.place, function=self.function)
        for layer in layers:
            cutter.resolve(layer)
        if self.cache is None:
            return self.compute(cutter(layers, self.pool), x)
        if cutter.seen is None:
            warnings.warn(
                f"{self.function}(cache=…): nothing is kept, since torch.fx cannot trace this network, "
                "and so it cannot be told from another one",
                stacklevel=3,
            )
            return self.compute(cutter(layers, self.pool), x)
        folder, base = Path(self.cache), self._digest(x)
        keys = [hashlib.sha256(f"{base} {cutter([name], self.pool).digest()}".encode()).hexdigest() for name in layers]
        made = {key: disk.read(folder, key, len(x)) for key in keys}
        missing = [n for n, key in enumerate(keys) if made[key] is None]
        if missing:
            for n, features in zip(missing, self.compute(cutter([layers[n] for n in missing], self.pool), x)):
                disk.write(folder, keys[n], features)
                made[keys[n]] = features
        return [made[key] for key in keys]  # type: ignore[misc]

    def compute(self, cut: Cut, x: torch.Tensor | NDArray[Any]) -> list[Features]:
        """Features of all layers of a cut, batch by batch."""
        made: list[Features] = []
        row, size = 0, self.batch_size
        while row < len(x):
            parts = self._batch(cut, x, row, size)
            if parts is None:  # here the error, and with it what it held on the device, is gone
                size = max(1, size // 2)
                if self.place.type == "cuda":
                    torch.cuda.empty_cache()
                warnings.warn(
                    f"{self.function}: out of memory on {self.place}: batches of {size} from here on", stacklevel=4
                )
                continue
            made = made or [np.empty((len(x), part.shape[1]), np.float32) for part in parts]
            for whole, part in zip(made, parts, strict=True):
                whole[row : row + len(part)] = part
            row += size
        return made

    def _batch(self, cut: Cut, x: torch.Tensor | NDArray[Any], row: int, size: int) -> list[Features] | None:
        """The features of some rows; None where memory does not suffice for them."""
        try:
            ready = self.normalised(self.resized(rows(x, row, size).to(self.place)))
            self._finite(ready, row, "the inputs are no finite numbers (NaN or infinity)")
            made = cut(ready)
            return [self._vectors(part, layer, row) for part, layer in zip(made, cut.layers, strict=True)]
        except torch.OutOfMemoryError:
            if size == 1:
                raise
            return None

    def _vectors(self, part: torch.Tensor, layer: str, row: int) -> Features:
        if part.ndim == 1:
            part = part[:, None]
        if part.ndim != 2:
            shape = ", ".join(map(str, part.shape[1:]))
            raise ValueError(
                f"{self.function}(layer={layer!r}, pool={self.pool!r}): it gives (N, {shape}), and of three axes it "
                "is not known which one is to be pooled; take pool='flatten'"
            )
        self._finite(part, row, f"layer {layer!r} gives no finite numbers (NaN or infinity)")
        found: Features = part.float().cpu().numpy()
        return found

    def _finite(self, x: torch.Tensor, row: int, what: str) -> None:
        broken = (~torch.isfinite(x)).flatten(1).any(1)
        if broken.any():
            found = (broken.nonzero()[:, 0] + row).tolist()
            more = f" and {len(found) - 6} more of this batch" if len(found) > 6 else ""
            raise ValueError(f"{self.function}: in rows {str(found[:6])[1:-1]}{more} {what}")

    def _digest(self, x: torch.Tensor | NDArray[Any]) -> str:
        """Names the inputs and the options that the features depend on."""
        numbers = [np.asarray(n, np.float32).tolist() for n in (self.mean, self.std)]
        found = hashlib.sha256(repr((_FORMAT, self.pool, numbers, self._sides, tuple(x.shape[1:]))).encode())
        for row in range(0, len(x), 1024):
            part = rows(x, row, 1024)
            found.update(str(part.dtype).encode())
            found.update(content(part))
        return found.hexdigest()


def rows(x: torch.Tensor | NDArray[Any], start: int, count: int) -> torch.Tensor:
    """Some inputs as a tensor; arrays are copied, since torch cannot share read-only or reversed ones."""
    part = x[start : start + count]
    return part.detach() if isinstance(part, torch.Tensor) else torch.tensor(np.ascontiguousarray(part))


def images(X: Any, function: str) -> torch.Tensor | NDArray[Any]:
    """Inputs (N, ...) out of what was given, or a sentence about what is accepted."""
    x = X.inputs if isinstance(X, Dataset) else X
    if isinstance(x, (str, os.PathLike)) or (isinstance(x, list) and x and isinstance(x[0], str)):
        raise TypeError(f"{function}: texts were given; accepted are images (N, C, H, W), or vectors (N, F)")
    if not isinstance(x, torch.Tensor):
        if hasattr(x, "toarray"):
            raise TypeError(f"{function}: a sparse matrix was given; dense data is required: use .toarray()")
        x = np.asarray(x)
        if x.dtype == object:  # numbers in disguise
            x = x.astype(np.float64)
        if x.dtype.kind not in "fiub":
            raise ValueError(f"{function}: inputs of type {x.dtype}; numbers are accepted. Complex data not supported")
        if x.dtype not in (np.dtype(np.uint8), np.dtype(np.float32)):
            x = x.astype(np.float32)
    if x.ndim < 2:
        raise ValueError(
            f"{function}: inputs of shape {tuple(x.shape)} were given; accepted are images (N, C, H, W) "
            "or vectors (N, F). Reshape your data"
        )
    if 0 in x.shape:
        what = "0 sample(s)" if len(x) == 0 else "0 feature(s)"
        raise ValueError(f"{function}: {what} (shape={tuple(x.shape)}) while a minimum of 1 is required.")
    return x
