"""The operators that inference needs, as positive lists: what is on neither list is refused before anything runs.

On the lists: convolutions, norms, attention, pooling, activations, arithmetic, reductions, shapes, and reading by
indices whose bounds the CPU kernels check. Off them, on purpose: random numbers, memory that is not initialised, views
by strides, sparse and complex tensors, files, and all that runs a graph of its own or makes sizes from data. So a
model is a straight line of steps whose cost follows from the shape of its input, which
`cv_quality.inference.probe` measures. Read by `cv_quality.inference.archive`, `torch_graph` and `onnx_graph`.
"""

from typing import Final


def _overloads(overload: str, names: str) -> frozenset[str]:
    return frozenset(f"{name}.{overload}" for name in names.split())


TORCH_OPERATORS: Final = (
    _overloads(
        "default",
        """
        abs abs_ acos asin atan atan2 bitwise_not ceil celu celu_ clamp clamp_ clamp_max clamp_min clamp_min_ cos cosh
        elu elu_ erf exp exp_ expm1 floor floor_divide frac gelu gelu_ glu hardshrink hardsigmoid hardsigmoid_ hardswish
        hardswish_ hardtanh hardtanh_ hypot isfinite isinf isnan leaky_relu leaky_relu_ log log10 log1p log2 log_sigmoid
        logical_and logical_not logical_or logical_xor maximum minimum mish mish_ nan_to_num neg neg_ prelu reciprocal
        relu relu6 relu6_ relu_ round rsqrt selu selu_ sigmoid sigmoid_ sign silu silu_ sin sinh softplus softshrink
        sqrt sqrt_ square tan tanh tanh_ threshold threshold_ trunc addcdiv addcmul
        conv1d conv2d conv3d convolution linear matmul mm bmm addmm baddbmm mv dot outer einsum bilinear
        scaled_dot_product_attention _softmax _log_softmax cosine_similarity
        batch_norm _native_batch_norm_legit_no_training instance_norm layer_norm native_layer_norm group_norm
        native_group_norm rms_norm dropout dropout_ alpha_dropout feature_dropout
        avg_pool1d avg_pool2d avg_pool3d max_pool1d max_pool2d max_pool2d_with_indices adaptive_avg_pool1d
        adaptive_avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d upsample_bilinear2d
        upsample_bicubic2d _upsample_nearest_exact2d grid_sampler grid_sampler_2d affine_grid_generator im2col
        all amax amin any argmax argmin cumprod cumsum linalg_norm linalg_vector_norm logsumexp max mean min prod sort
        std sum topk var
        alias arange cat concat chunk clone constant_pad_nd contiguous copy_ detach detach_ embedding expand expand_as
        broadcast_to eye flip full full_like gather hstack index_select lift_fresh_copy linspace meshgrid narrow
        new_full new_ones new_zeros numpy_T ones ones_like pad permute pixel_shuffle pixel_unshuffle channel_shuffle
        reflection_pad2d repeat replication_pad2d reshape reshape_as roll scalar_tensor select_scatter slice_scatter
        split_with_sizes squeeze stack swapaxes swapdims t tile tril triu type_as unfold unsqueeze view view_as vstack
        zeros zeros_like
        _to_copy _assert_scalar _assert_tensor_metadata sym_constrain_range sym_constrain_range_for_size
        """,
    )
    | _overloads("Tensor", "add add_ sub sub_ mul mul_ div div_ rsub remainder fmod eq ne lt le gt ge clamp lerp")
    | _overloads("Tensor", "bitwise_and bitwise_or bitwise_xor __and__ __or__ __xor__ masked_fill index slice split")
    | _overloads("Scalar", "add add_ sub sub_ mul mul_ div div_ rsub remainder fmod eq ne lt le gt ge lerp pow")
    | _overloads("Scalar", "floor_divide masked_fill masked_fill_ where fill_ norm")
    | _overloads("vec", "upsample_nearest2d upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d")
    | _overloads("dim", "all any max mean min squeeze std std_mean var var_mean")
    | _overloads("int", "log_softmax movedim select softmax sym_size transpose unbind unflatten")
    | _overloads("correction", "std std_mean var var_mean")
    | _overloads("padding", "conv1d conv2d")
    | frozenset(
        # One string: a list of names would take a line each.
        """
        _native_batch_norm_legit.no_stats arange.start arange.start_step conv_transpose2d.input
        div.Scalar_mode div.Tensor_mode flatten.using_ints max.other meshgrid.indexing min.other
        movedim.intlist norm.ScalarOpt_dim pow.Tensor_Scalar pow.Tensor_Tensor pow_.Scalar prod.dim_int
        repeat_interleave.self_int round.decimals sort.stable split.sizes squeeze.dims sum.dim_IntList
        to.device to.dtype to.dtype_layout where.ScalarOther where.ScalarSelf where.self
        """.split()  # noqa: SIM905
    )
)
"""ATen operators by name and overload."""

TRAINING_ARGUMENTS: Final = {
    "dropout.default": "train",
    "dropout_.default": "train",
    "alpha_dropout.default": "train",
    "feature_dropout.default": "train",
    "batch_norm.default": "training",
    "scaled_dot_product_attention.default": "dropout_p",
}
"""The argument that must be false or 0, or the operator draws random numbers or changes what the model has learnt."""


def _plain(names: str) -> dict[str, frozenset[int]]:
    return dict.fromkeys(names.split(), frozenset())


_AXES: Final = "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum"
ONNX_OPERATORS: Final[dict[str, frozenset[int]]] = {
    **_plain("Abs Acos Add And ArgMax ArgMin Asin Atan AveragePool BatchNormalization Cast CastLike Ceil Celu Clip"),
    **_plain("Concat Constant Conv ConvInteger ConvTranspose Cos Cosh DepthToSpace DequantizeLinear Div Dropout"),
    **_plain("DynamicQuantizeLinear Einsum Elu Equal Erf Exp Flatten Floor Gather GatherElements GatherND Gelu Gemm"),
    **_plain("GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid"),
    **_plain("HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less"),
    **_plain(
        "LessOrEqual Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean Min Mish Mod Mul"
    ),
    **_plain("Neg Not Or PRelu Pow QLinearConv QLinearMatMul QuantizeLinear Reciprocal Relu Round Selu Shape Sigmoid"),
    **_plain("Sign Sin Sinh Size Softmax Softplus Softsign SpaceToDepth Sqrt Sub Sum Tan Tanh ThresholdedRelu"),
    **_plain("Transpose Trilu Where Xor"),
    **dict.fromkeys([*_AXES.split(), "ReduceSumSquare"], frozenset({1})),
    **dict.fromkeys(["CumSum", "Expand", "OneHot", "Reshape", "Split", "Squeeze"], frozenset({1})),
    **dict.fromkeys(["Tile", "TopK", "Unsqueeze", "Upsample"], frozenset({1})),
    "ConstantOfShape": frozenset({0}),
    "Pad": frozenset({1, 3}),
    "Range": frozenset({0, 1, 2}),
    "Resize": frozenset({1, 2, 3}),
    "Slice": frozenset({1, 2, 3, 4}),
}
"""Operators of ONNX's own domain, with the places of the inputs that make sizes: those must not depend on pixels."""
