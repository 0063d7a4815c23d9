"""Exports GPT-2 to ONNX for the kvcache library and plain ONNX Runtime.

docs/MODEL_FILE.md is the contract between the three.

In the order the data flows: a checkpoint's config (json_file, fields) becomes a description (spec,
spec_check) by its family's file (family, families/, value_heads); sources/ reads its weights;
for texts there are tokenizer_files (sentencepiece_file, sentencepiece_pieces, tekken_file),
special_tokens and chat/;
precision, packing, quantization and encoding say what they become in the file; nodes/ and graph
make the graph, and model gives it the weights; save writes it, runtime, verify, stand_ins and
rounding try it, manifest describes it, output_directory and publish put it in place, and export
does all that. Around them: console, signals, packages, boundary,
cli, trigo.
"""
