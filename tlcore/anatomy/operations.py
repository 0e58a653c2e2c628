"""Which rule belongs to which operation, and how its arguments are called."""

from __future__ import annotations

from typing import Any

from torch import nn

from tlcore.anatomy import rules
from tlcore.anatomy.rules import Rule

# operation name -> (rule, names of its arguments in order)
OPERATIONS: dict[str, tuple[Rule, tuple[str, ...]]] = {}


def _add(rule: Rule, names: str, arguments: str) -> None:
    for name in names.split():
        OPERATIONS[name] = (rule, tuple(arguments.split()))


_CONV = "input weight bias stride padding"
_add(rules.convolution, "conv1d conv2d conv3d", f"{_CONV} dilation groups")
_add(
    rules.convolution,
    "conv_transpose1d conv_transpose2d conv_transpose3d",
    f"{_CONV} output_padding groups dilation",
)
_add(
    rules.pooling,
    "max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices",
    "input kernel_size stride padding dilation ceil_mode return_indices",
)
_add(rules.pooling, "avg_pool1d avg_pool2d avg_pool3d", "input kernel_size stride padding ceil_mode")
_add(rules.pooling, "lp_pool1d lp_pool2d lp_pool3d", "input norm_type kernel_size stride ceil_mode")
_add(
    rules.adaptive_pooling,
    " ".join(f"adaptive_{kind}_pool{n}d" for kind in ("avg", "max") for n in (1, 2, 3))
    + " "
    + " ".join(f"adaptive_max_pool{n}d_with_indices" for n in (1, 2, 3)),
    "input output_size",
)
_add(
    rules.interpolation,
    "interpolate upsample",
    "input size scale_factor mode align_corners recompute_scale_factor antialias",
)
_add(rules.pixel_shuffle, "pixel_shuffle", "input upscale_factor")
_add(rules.pixel_shuffle, "pixel_unshuffle", "input downscale_factor")
_add(rules.padding, "pad constant_pad_nd", "input pad mode value")
_add(
    rules.reduction,
    "mean sum amax amin max min std var prod norm logsumexp all any argmax argmin median nanmean",
    "input dim keepdim",
)
OPERATIONS["norm"] = (rules.reduction, ("input", "p", "dim", "keepdim"))
_add(rules.linear, "linear", "input weight bias")
_add(rules.product, "matmul bmm mm", "input other")
_add(rules.everything, "scaled_dot_product_attention multi_head_attention_forward", "input key value")
_add(rules.statistics, "softmax log_softmax softmin cumsum cumprod", "input dim")
_add(rules.statistics, "normalize", "input p dim")
_add(rules.statistics, "layer_norm rms_norm", "input normalized_shape")
_add(rules.statistics, "group_norm", "input num_groups")
_add(rules.statistics, "instance_norm", "input running_mean")
_add(
    rules.reshape,
    "view reshape flatten unflatten squeeze unsqueeze squeeze_ unsqueeze_ ravel view_as reshape_as",
    "input",
)
_add(rules.permute, "permute", "input dims")
_add(rules.permute, "transpose swapaxes swapdims transpose_", "input dim0 dim1")
_add(rules.permute, "t", "input")
_add(rules.permute, "movedim moveaxis", "input source destination")
_add(rules.concatenation, "cat concat concatenate", "tensors dim")
_add(rules.stacking, "stack", "tensors dim")
_add(rules.repetition, "expand repeat expand_as broadcast_to", "input")
_add(rules.pieces, "chunk", "input chunks dim")
_add(rules.pieces, "split tensor_split", "input sizes dim")
_add(rules.pieces, "unbind", "input dim")
_add(rules.narrowing, "narrow", "input dim start length")
_add(rules.narrowing, "select", "input dim start")
_add(rules.indexing, "getitem", "input index")
_add(
    rules.first_operand,
    "batch_norm dropout dropout_ dropout1d dropout2d dropout3d alpha_dropout feature_alpha_dropout "
    "feature_dropout stochastic_depth drop_path drop_block2d local_response_norm prelu channel_shuffle "
    "native_channel_shuffle rrelu fake_quantize_per_tensor_affine",
    "input",
)
_add(rules.embedding, "embedding one_hot", "input")
_add(
    rules.constant,
    "zeros_like ones_like full_like rand_like randn_like empty_like new_zeros new_ones",
    "input",
)
_add(rules.gated, "glu", "input dim")
_add(
    rules.pointwise,
    "relu relu_ relu6 gelu silu silu_ mish mish_ elu elu_ selu selu_ celu celu_ leaky_relu leaky_relu_ "
    "hardtanh hardtanh_ hardswish hardsigmoid hardshrink softshrink tanhshrink threshold threshold_ "
    "sigmoid sigmoid_ tanh tanh_ softplus softsign logsigmoid log_sigmoid add add_ iadd radd sub sub_ "
    "isub rsub subtract mul mul_ imul multiply div div_ truediv itruediv divide true_divide floordiv "
    "floor_divide remainder fmod mod pow pow_ ipow neg negative pos abs absolute abs_ exp exp_ exp2 "
    "expm1 log log2 log10 log1p sqrt rsqrt square reciprocal sin cos tan sinh cosh asin acos atan atan2 "
    "erf erfc sign ceil floor round trunc frac clamp clamp_ clip clamp_min clamp_max maximum minimum "
    "fmax fmin where masked_fill masked_fill_ lerp addcmul addcdiv logaddexp hypot logit sigmoid_focal "
    "nan_to_num eq ne lt le gt ge and_ or_ xor logical_and logical_or logical_not logical_xor invert "
    "isnan isinf isfinite contiguous clone detach detach_ to float double half bfloat16 int long bool "
    "type type_as cpu cuda requires_grad_ alias identity copy_",
    "input other",
)

_NORMS: tuple[type, ...] = (nn.LayerNorm, *((nn.RMSNorm,) if hasattr(nn, "RMSNorm") else ()))
_ACTIVATIONS = ("torch.nn.modules.activation", "torch.nn.modules.dropout")


def module_call(module: nn.Module) -> tuple[str, dict[str, Any]] | None:
    """The operation that a torch.nn module performs and its arguments, or None if we know no rule."""
    for cls in type(module).__mro__:
        name = cls.__name__
        if not cls.__module__.startswith("torch.nn.modules"):
            continue
        if name[:4] == "Conv" and name[-1] == "d":
            key = ("conv_transpose" if "Transpose" in name else "conv") + name[-2:]
            fields = ("weight", "stride", "padding", "dilation")
            return key, {f: getattr(module, f) for f in fields}
        if isinstance(module, (nn.Softmax, nn.LogSoftmax, nn.Softmin)):
            return "softmax", {"dim": module.dim}
        if name.startswith(("MaxPool", "AvgPool", "LPPool")):
            key = {"M": "max", "A": "avg", "L": "lp"}[name[0]] + "_pool" + name[-2:]
            return key, {f: getattr(module, f, None) for f in ("kernel_size", "stride", "padding", "dilation")}
        if name.startswith(("AdaptiveAvgPool", "AdaptiveMaxPool")):
            key = f"adaptive_{name[8:11].lower()}_pool{name[-2:]}"
            return key, {"output_size": module.output_size}
        if isinstance(module, nn.Upsample):
            names = ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor")
            return "interpolate", {f: getattr(module, f) for f in names}
        if isinstance(module, nn.PixelShuffle):
            return "pixel_shuffle", {"upscale_factor": module.upscale_factor}
        if isinstance(module, nn.PixelUnshuffle):
            return "pixel_unshuffle", {"downscale_factor": module.downscale_factor}
        if cls.__module__ == "torch.nn.modules.padding":
            return "pad", {"pad": module.padding}
        if isinstance(module, _NORMS):
            return "layer_norm", {"normalized_shape": module.normalized_shape}
        if isinstance(module, nn.GroupNorm):
            return "group_norm", {}
        if name.startswith("InstanceNorm"):
            return ("batch_norm" if getattr(module, "track_running_stats", False) else "instance_norm"), {}
        if name.startswith(("BatchNorm", "SyncBatchNorm")) or isinstance(module, nn.LocalResponseNorm):
            return "batch_norm", {}
        if isinstance(module, nn.Linear):
            return "linear", {}
        if isinstance(module, (nn.Flatten, nn.Unflatten)):
            return "flatten", {}
        if isinstance(module, (nn.Identity, nn.Embedding, nn.ChannelShuffle)):
            kind = "embedding" if isinstance(module, nn.Embedding) else "channel_shuffle"
            return ("identity" if isinstance(module, nn.Identity) else kind), {}
        if isinstance(module, nn.MultiheadAttention | nn.RNNBase) or cls.__module__.endswith(".transformer"):
            return "scaled_dot_product_attention", {}
        if cls.__module__ in _ACTIVATIONS:
            return ("glu", {"dim": module.dim}) if isinstance(module, nn.GLU) else ("relu", {})
    return None


def function_key(target: Any) -> str | None:
    """The name of a function or method that comes from torch or Python's operators, else None."""
    if isinstance(target, str):
        return target.strip("_") if target.startswith("__") else target
    name = getattr(target, "__name__", None)
    home = getattr(target, "__module__", None) or "torch"
    known = home.split(".")[0] in (
        "torch",
        "_operator",
        "operator",
        "builtins",
        "math",
        "torchvision",
        "timm",
    )
    if not known or not isinstance(name, str):
        return None
    return name.split(".")[0].strip("_") if name.startswith("__") else name.split(".")[0]
