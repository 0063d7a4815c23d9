#!/usr/bin/env python3
"""Times decoding by others on the same GPU: random weights, batch 1, GPT-2 (124M) in float16.

Stock ONNX Runtime (GroupQueryAttention, CUDA graph), onnxruntime-genai (CUDA graph) and Hugging
Face (static cache, torch.compile), the latter also of Llama 3.2 1B's shape in bfloat16. Each runs
in a process of its own; one that is missing or fails is reported with its reason. Writes a JSON
list of measurements.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOKENS = 200
WARM_UP = 8
DEPTHS = (8, 512)
GPT2 = "gpt2"
LLAMA = "llama-3.2-1b"
GENAI_SESSION = {"provider_options": [{"cuda": {"enable_cuda_graph": "1"}}]}


def main() -> int:
    """Measures all peers, or one of them in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=sorted(PEERS), help=argparse.SUPPRESS)
    parser.add_argument("--timeout", type=float, default=200, help="seconds for each peer")
    parser.add_argument("output", type=Path, nargs="?")
    options = parser.parse_args()
    if options.only:
        print(json.dumps(PEERS[options.only]()))
        return 0
    results: list[dict[str, Any]] = []
    for peer in PEERS:
        print(f"measuring {peer}", file=sys.stderr)
        results += _in_own_process(peer, options.timeout)
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


def _in_own_process(peer: str, timeout: float) -> list[dict[str, Any]]:
    command = [sys.executable, __file__, "--only", peer]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return [_failed(peer, f"took more than {timeout:.0f} s")]
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines() or ["no message"]
        return [_failed(peer, reason[-1])]
    return json.loads(done.stdout.strip().splitlines()[-1])


def _failed(peer: str, reason: str) -> dict[str, str]:
    return {"name": peer, "shape": LLAMA if peer.endswith("llama") else GPT2, "failed": reason}


def _timed(step: Callable[[], object]) -> dict[str, float]:
    samples = []
    for i in range(TOKENS + WARM_UP):
        start = time.perf_counter()
        step()
        if i >= WARM_UP:
            samples.append(1000 * (time.perf_counter() - start))
    samples.sort()
    at = lambda share: samples[int(share * (len(samples) - 1))]  # noqa: E731
    return {"median": at(0.5), "p10": at(0.1), "p90": at(0.9), "samples": len(samples)}


def _measurement(
    name: str, depth: int, stat: dict[str, float], dtype: str = "float16", shape: str = GPT2
) -> dict[str, Any]:
    return {
        "name": name, "shape": shape, "dtype": dtype, "depth": depth, "ms": stat, "note": "",
    }  # fmt: skip


def stock_graph() -> list[dict[str, Any]]:
    """ONNX Runtime's own attention with past and present in one buffer, as a CUDA graph."""
    import gqa_graph
    import numpy as np

    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before ONNX Runtime is loaded
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "model.onnx"
        gqa_graph.write(path, lengths_from_mask=False)
        session = ort.InferenceSession(
            path, providers=[("CUDAExecutionProvider", {"enable_cuda_graph": "1"})]
        )
    shape = (1, gqa_graph.HEADS, gqa_graph.POSITIONS, gqa_graph.HEAD_DIM)
    binding = session.io_binding()
    inputs = {
        name: ort.OrtValue.ortvalue_from_numpy(np.zeros(size, kind), "cuda", 0)
        for name, size, kind in (
            ("input_ids", (1, 1), np.int64),
            ("position_ids", (1, 1), np.int64),
            ("seqlens_k", (1,), np.int32),
        )
    }
    for name, value in inputs.items():
        binding.bind_ortvalue_input(name, value)
    buffers = []
    for layer in range(gqa_graph.LAYERS):
        for part in ("key", "value"):
            buffer = ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float16), "cuda", 0)
            buffers.append(buffer)
            binding.bind_ortvalue_input(f"past_key_values.{layer}.{part}", buffer)
            binding.bind_ortvalue_output(f"present.{layer}.{part}", buffer)
    logits = ort.OrtValue.ortvalue_from_numpy(
        np.zeros((1, 1, gqa_graph.VOCAB), np.float16), "cuda", 0
    )
    binding.bind_ortvalue_output("logits", logits)
    # On the CPU, and part of what was captured: the length that the kernel was chosen for.
    total = ort.OrtValue.ortvalue_from_numpy(np.array(gqa_graph.POSITIONS, np.int32), "cpu", 0)
    binding.bind_ortvalue_input("total_sequence_length", total)
    name = f"stock ONNX Runtime {ort.__version__}, GroupQueryAttention, CUDA graph"

    def decode(depth: int) -> dict[str, Any]:
        token = 1

        def step() -> None:
            nonlocal token
            inputs["input_ids"].update_inplace(np.array([[token]], np.int64))
            inputs["position_ids"].update_inplace(np.array([[depth]], np.int64))
            inputs["seqlens_k"].update_inplace(np.array([depth], np.int32))
            session.run_with_iobinding(binding)
            token = int(logits.numpy()[0, 0].argmax())

        return _measurement(name, depth, _timed(step))

    return [decode(depth) for depth in DEPTHS]


def genai() -> list[dict[str, Any]]:
    """onnxruntime-genai's generator on the same graph."""
    import gqa_graph
    import numpy as np

    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before ONNX Runtime is loaded
    import onnxruntime_genai as og

    with tempfile.TemporaryDirectory() as directory:
        gqa_graph.write(Path(directory) / "model.onnx", lengths_from_mask=True)
        config = gqa_graph.genai_config("model.onnx", GENAI_SESSION)
        (Path(directory) / "genai_config.json").write_text(json.dumps(config), encoding="utf-8")
        model = og.Model(directory)
        results = []
        for depth in DEPTHS:
            parameters = og.GeneratorParams(model)
            parameters.set_search_options(max_length=1024, min_length=1024, do_sample=False)
            generator = og.Generator(model, parameters)
            generator.append_tokens(np.ones(depth, np.int32))

            def step(generator: Any = generator) -> None:
                generator.generate_next_token()
                generator.get_next_tokens()

            name = f"onnxruntime-genai {og.__version__}, CUDA graph"
            results.append(_measurement(name, depth, _timed(step)))
        return results


def hugging_face() -> list[dict[str, Any]]:
    """transformers' GPT-2 with a static cache, compiled."""
    import transformers

    config = transformers.GPT2Config()
    return _compiled(transformers.GPT2LMHeadModel, config, "float16", GPT2)


def hugging_face_llama() -> list[dict[str, Any]]:
    """The same of Llama 3.2 1B's shape."""
    import transformers

    config = transformers.LlamaConfig(
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        head_dim=64,
        vocab_size=128256,
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        rope_theta=500000.0,
        tie_word_embeddings=True,
    )
    return _compiled(transformers.LlamaForCausalLM, config, "bfloat16", LLAMA)


def _compiled(kind: Any, config: Any, dtype: str, shape: str) -> list[dict[str, Any]]:
    import torch
    import transformers

    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, dtype))
    with torch.device("cuda"):
        model = kind(config).eval()
    torch.set_default_dtype(torch.float32)
    forward = torch.compile(model.forward, mode="reduce-overhead", fullgraph=True)
    name = (
        f"Hugging Face transformers {transformers.__version__}, static cache, torch"
        f" {torch.__version__} compiled"
    )
    results = []
    with torch.inference_mode():
        cache = transformers.StaticCache(config=config, max_cache_len=1024)
        prompt = torch.ones((1, max(DEPTHS)), dtype=torch.int64, device="cuda")
        model(input_ids=prompt, past_key_values=cache, use_cache=True)
        for depth in DEPTHS:
            token = torch.ones((1, 1), dtype=torch.int64, device="cuda")
            position = torch.tensor([depth], device="cuda")

            def step(token: Any = token, position: Any = position, cache: Any = cache) -> None:
                out = forward(
                    input_ids=token,
                    position_ids=position[None],
                    cache_position=position,
                    past_key_values=cache,
                    use_cache=True,
                )
                token.copy_(out.logits[:, -1:].argmax(-1))
                token.item()

            results.append(_measurement(name, depth, _timed(step), dtype, shape))
    return results


PEERS = {
    "stock-graph": stock_graph,
    "genai": genai,
    "hugging-face": hugging_face,
    "hugging-face-llama": hugging_face_llama,
}

if __name__ == "__main__":
    sys.exit(main())
