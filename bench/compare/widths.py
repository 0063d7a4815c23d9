"""The exporter's options for every width that a model can have on the CPU, by name."""

WIDTHS: dict[str, tuple[str, ...]] = {
    "float32": (),
    "float16": ("--dtype", "float16"),
    "weights float16": ("--weights", "float16"),
    "weights bfloat16": ("--weights", "bfloat16"),
    "bfloat16 products": ("--weights", "bfloat16", "--activations", "bfloat16"),
    "weights int8": ("--weights", "int8"),
    "weights int8, float32 activations": ("--weights", "int8", "--activations", "float32"),
    "weights int4": ("--weights", "int4"),
    "weights int4, float32 activations": ("--weights", "int4", "--activations", "float32"),
    "cache float16": ("--cache-dtype", "float16"),
    "cache bfloat16": ("--cache-dtype", "bfloat16"),
    "cache int8": ("--cache-dtype", "int8"),
    "weights int8, cache int8": ("--weights", "int8", "--cache-dtype", "int8"),
}
