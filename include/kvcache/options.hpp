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
///
/// A file that is mapped is held: whoever wants to write to it or to make it shorter waits until
/// the weights lie in the process's own memory, which is then begun at once and takes a second or
/// less per GB. Linux lets the file's owner and root hold it (a lease, fcntl(2)), on most file
/// systems of the machine's own, while nobody else has it open for writing. A file that is replaced
/// by another of its name, as the exporter does it, is of no concern in any case.
enum class WeightMemory {
  /// Mapped from the file to begin with, and moved into huge pages once enough tokens were decoded
  /// to repay that (ModelOptions::runs_before_move): from then on, decoding is as fast as can be.
  /// Where the file cannot be held, as copied.
  huge_pages,
  /// Mapped from the file, and processes share the memory. Decoding is up to a
  /// quarter slower where the system's cache holds the file in small pages, or in memory that has
  /// lain idle in a virtual machine. Where the file cannot be held, it must not change while the
  /// model is loaded: the process would end by SIGBUS, or compute something else.
  mapped,
  /// Read into huge pages during the load, which takes up to a second per GB longer.
  copied
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

  /// By how many of its latest tokens a sequence can always be rewound. Unset: by all, and nothing
  /// is given back. Set, of a model with windows: in the layers of each window, a sequence gives
  /// back blocks whose tokens no later one sees there, even after that much was rewound, so that
  /// these layers hold about window + rewindable_tokens tokens however long it is, and
  /// Sequence::can_rewind_to() tells how far one can go. Layers that see all tokens keep them all;
  /// where none has a window, this is without effect (docs/WINDOW.md).
  std::optional<std::size_t> rewindable_tokens;

  /// Fills freed cache blocks with NaN, so that a read of what nobody wrote shows in the logits.
  /// For tests: it costs time.
  bool poison_freed_blocks = false;

  /// Where weights lie on the CPU.
  WeightMemory weight_memory = WeightMemory::huge_pages;

  /// With WeightMemory::huge_pages, runs after which the weights are moved: each reads all of them,
  /// and a move costs as much as mapped weights cost in dozens to hundreds of runs, which depends
  /// on the machine. 0: right after the load.
  std::size_t runs_before_move = 256;

  /// Checks the model files against the digests of config.json, beside the rest of the load (about
  /// 0.1 s per GB of one core). Sizes are checked always.
  bool verify_digests = true;

  /// Runs decode steps without ONNX Runtime where the model permits it. On the CPU: of up to 64
  /// tokens, its nodes captured and run again, bit for bit the same (docs/PERFORMANCE.md). On a
  /// GPU: of up to 8 tokens of GPT-2 (124M and medium), of the trees of many games of small models
  /// in its form, and of one token of models in Llama's, as one kernel (docs/CUDA.md), for a second
  /// copy of the weights there.
  bool fuse_steps = true;

  /// Insists that the results of a token are the same bits whatever is computed beside it: alone,
  /// in a prefill, in a tree, in any batch, by any number of threads, with and without a cache.
  /// With float32 arithmetic on the CPU they are anyway, but for models whose activations are
  /// bfloat16 on processors that multiply these themselves: there it costs about a tenth of the
  /// speed of decoding. Models for which nobody can promise it (arithmetic of 16 bits, which is
  /// ONNX Runtime's, and a GPU's) do not load then. See Model::invariant_results,
  /// docs/EXACTNESS.md.
  bool invariant_results = false;

  /// Leaves the telemetry of ONNX Runtime as it is. Off: official builds of 1.29 and later would
  /// keep a device's id and a database of events under the home directory and send them. The first
  /// model of a process decides, for ONNX Runtime's environment is the process's; one that the
  /// program made itself before has decided already, and so has ORT_DISABLE_TELEMETRY in the
  /// process's environment, whatever its value. SECURITY.md says how it is kept off.
  bool telemetry = false;

  /// Writes ONNX Runtime's profile to a file that starts with this path; empty: no profile.
  std::filesystem::path profile_prefix;

  /// Messages of ONNX Runtime (warnings and above); unset: dropped.
  LogCallback log;
};

}  // namespace kvcache
