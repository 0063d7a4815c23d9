// How a model is loaded.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <optional>
#include <string_view>

#include "kvcache/types.hpp"

namespace kvcache {

/// Receives one message, without a newline, from any thread. The library itself never prints.
using LogCallback = std::function<void(std::string_view message)>;

/// Where weights lie on the CPU; in memory once in any case. docs/PERFORMANCE.md has the figures.
enum class WeightMemory {
  /// Mapped from the file to begin with, and moved into huge pages beside the first tokens, which
  /// takes a fraction of a second per GB: from then on, decoding is as fast as can be, whatever the
  /// system does with the file. Until then, as mapped.
  huge_pages,
  /// Mapped from the file, and processes share the memory. Decoding is up to a
  /// quarter slower where the system's cache holds the file in small pages, or in memory that has
  /// lain idle in a virtual machine. The file must not change while the model is loaded; the
  /// exporter replaces files and never changes them.
  mapped
};

struct ModelOptions {
  /// Threads of one run; 0: as many as there are physical cores.
  int num_threads = 0;

  /// The device to run on. Unset: CUDA where this build, the ONNX Runtime in use and the machine
  /// have it, else the CPU; Model::device_report() says which and why. Set: anything else is an
  /// error (device_unavailable).
  std::optional<Device> require_device;

  /// Tokens per cache block; 0: the default of 32. A sequence owns whole blocks. max_seq_len, and
  /// anything above, gives every sequence one contiguous [heads, max_seq_len, head_dim] buffer per
  /// layer.
  std::size_t block_len = 0;

  /// The most memory that keys and values may take; 0: enough for 16 sequences of full length. Only
  /// address space is reserved; memory is taken as sequences grow.
  std::size_t cache_bytes = 0;

  /// Fills freed cache blocks with NaN, so that a read of what nobody wrote shows in the logits.
  /// For tests: it costs time.
  bool poison_freed_blocks = false;

  /// Where weights lie on the CPU.
  WeightMemory weight_memory = WeightMemory::huge_pages;

  /// Checks the model files against the digests of config.json, beside the rest of the load (about
  /// 0.1 s per GB of one core). Sizes are checked always.
  bool verify_digests = true;

  /// Runs decode steps without ONNX Runtime where the model permits it. On the CPU: of up to five
  /// tokens, its nodes recorded and run again, bit for bit the same (docs/PERFORMANCE.md). On a
  /// GPU: of one token, as a single kernel (docs/CUDA.md), twice as fast, for a second copy of the
  /// layers' weights there.
  bool fuse_steps = true;

  /// Writes ONNX Runtime's profile to a file that starts with this path; empty: no profile.
  std::filesystem::path profile_prefix;

  /// Messages of ONNX Runtime (warnings and above); unset: dropped.
  LogCallback log;
};

}  // namespace kvcache
