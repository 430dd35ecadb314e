"""A base whose linear layers are held in 4 or 8 bits and made into numbers again in each product.

QLoRA (Dettmers et al., 2023, arXiv:2305.14314) and LLM.int8() (Dettmers et al., 2022, arXiv:2208.07339), as bitsandbytes does
them on CPUs and GPUs. The head, embeddings and norms stay as they are. Weights are read whole before they are made small.
"""

from __future__ import annotations

from typing import Any

from torch.nn import Linear, Module, Parameter

from weitiao.errors import MissingExtra, NoTargets
from weitiao.models.targets import ALL_LINEAR, linear_layers


def quantize(model: Module, *, bits: int, quant_type: str, double_quant: bool) -> Module:
    """Return the model with the linear layers of its stack held in so many bits; on the meta device it stays as it is.

    quant_type: nf4 or fp4, of 4 bits. double_quant: whether the scales of 4 bits are held in 8. Raises MissingExtra, NoTargets.
    """
    any_model: Any = model
    spared = set(getattr(any_model, "_keep_in_fp32_modules", None) or ())  # T5 reads the precision of a layer off its weight
    chosen = [name for name in linear_layers(model, ALL_LINEAR) if type(model.get_submodule(name)) is Linear and name.rpartition(".")[2] not in spared]
    if not chosen:
        raise NoTargets(f"method: {type(model).__name__} has no plain linear layers to hold in {bits} bits.", hint="Use method.name=lora.")
    if next(model.parameters()).device.type == "meta":
        return model
    for name in chosen:
        layer: Any = model.get_submodule(name)
        parent, _, own = name.rpartition(".")
        setattr(model.get_submodule(parent), own, _in_four(layer, quant_type, double_quant) if bits == 4 else _in_eight(layer))
    setattr(any_model, f"is_loaded_in_{bits}bit", True)  # PEFT asks for it before it puts an update beside such a layer
    return model


def _library() -> Any:
    try:
        import bitsandbytes
    except ImportError:
        raise MissingExtra("a base in few bits needs the package bitsandbytes, which is not installed.", hint="pip install 'weitiao[qlora]'") from None
    return bitsandbytes


def _in_four(layer: Linear, quant_type: str, double_quant: bool) -> Module:
    library = _library()
    weight = layer.weight.data
    made = library.nn.Linear4bit(layer.in_features, layer.out_features, bias=False, compress_statistics=double_quant, quant_type=quant_type, device="meta")
    settings = {"compress_statistics": double_quant, "quant_type": quant_type, "module": made}
    made.weight = library.nn.Params4bit(weight, requires_grad=False, **settings).to(weight.device)
    made.support_avx512bf16_for_cpu = False  # it would compute in bf16 in evaluation, and in fp32 in training
    return _with_bias(made, layer)


def _in_eight(layer: Linear) -> Module:
    library = _library()
    weight = layer.weight.data
    made = library.nn.Linear8bitLt(layer.in_features, layer.out_features, bias=False, has_fp16_weights=False, threshold=6.0, device="meta")
    made.weight = library.nn.Int8Params(weight, requires_grad=False, has_fp16_weights=False).to(weight.device)
    return _with_bias(made, layer)


def _with_bias(made: Any, layer: Linear) -> Module:
    if layer.bias is not None:
        made.bias = Parameter(layer.bias.data, requires_grad=layer.bias.requires_grad)
    found: Module = made
    return found
