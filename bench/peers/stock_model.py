"""GPT-2 as ONNX Runtime's own graph, with the weights that our exporter gives it.

    python stock_model.py OUTPUT_DIR [--weights float32|int8|int4|int8-dynamic] [--genai THREADS]

Weights of int8 and int4 are MatMulNBits in blocks of 32 with products in int8 (accuracy level 4);
int8-dynamic is quantize_dynamic, whose products are MatMulInteger. With --genai the lengths come
from attention_mask, and onnxruntime-genai's configuration is written beside the graph.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import gpt2_weights
import gqa_graph
import onnx

BLOCK_SIZE = 32
BITS = {"int8": 8, "int4": 4}
FILE = "model.onnx"


def quantized(model: onnx.ModelProto, weights: str) -> onnx.ModelProto:
    """The model with narrower weights."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before ONNX Runtime is loaded
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    if weights == "float32":
        return model
    if weights == "int8-dynamic":
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / FILE
            narrow = path.with_name("narrow.onnx")
            onnx.save(model, path)
            quantize_dynamic(
                path,
                narrow,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                weight_type=QuantType.QInt8,
                extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
            )
            return onnx.load(narrow)
    config = DefaultWeightOnlyQuantConfig(
        block_size=BLOCK_SIZE, is_symmetric=True, accuracy_level=4, bits=BITS[weights]
    )
    quantizer = MatMulNBitsQuantizer(model, algo_config=config)
    quantizer.process()
    return quantizer.model.model


def main() -> None:
    parser = argparse.ArgumentParser(description="Writes GPT-2 as ONNX Runtime's own graph.")
    parser.add_argument("output", type=Path)
    parser.add_argument("--weights", choices=("float32", *BITS, "int8-dynamic"), default="float32")
    parser.add_argument("--genai", type=int, metavar="THREADS")
    arguments = parser.parse_args()
    model = gqa_graph.model(gpt2_weights.read, lengths_from_mask=arguments.genai is not None)
    arguments.output.mkdir()
    onnx.save(quantized(model, arguments.weights), arguments.output / FILE)
    if arguments.genai is not None:
        config = gqa_graph.genai_config(FILE, {"intra_op_num_threads": arguments.genai})
        (arguments.output / "genai_config.json").write_text(json.dumps(config, indent=1))


if __name__ == "__main__":
    main()
