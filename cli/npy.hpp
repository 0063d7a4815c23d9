// NumPy's file format, as far as it takes to write logits.
#pragma once

#include "base/atomic_file.hpp"
#include "kvcache/logits.hpp"

namespace kvcache::cli {

/// Writes a .npy file (format version 1.0): float32 [rows, vocab_size] in C order.
void write_npy(const Logits& logits, AtomicFile& file);

}  // namespace kvcache::cli
