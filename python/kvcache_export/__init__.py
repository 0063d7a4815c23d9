"""Exports GPT-2 to ONNX for the kvcache library and plain ONNX Runtime.

docs/MODEL_FILE.md is the contract between the three.

Modules in the order the data flows: json_file, fields, activations, config, tensor_names,
safetensors_file, shards, hub, weights, checkpoint, sources, precision, packing, quantization,
functions, gpt2, rounding, save, runtime, verify, manifest, output_directory, publish, export;
and around them console, signals, packages, boundary, cli.
"""
