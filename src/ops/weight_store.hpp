// Where the kernels read their weights.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "ops/weight_file.hpp"

namespace kvcache::ops {

/// Keeps weights on huge pages: those of files that were put there before are read there, and
/// others, such as those of a model in a single file, are copied. Decoding reads all weights once
/// per token, and small pages make that slower (docs/PERFORMANCE.md).
class WeightStore {
 public:
  WeightStore();
  WeightStore(const WeightStore&) = delete;
  WeightStore& operator=(const WeightStore&) = delete;
  ~WeightStore();

  /// From here on, weights that ONNX Runtime mapped from this file are read where it lies, which
  /// must outlive this object. ONNX Runtime's own pages of it are then never touched.
  void read_from(const WeightFile& file);

  /// Where to read `bytes` of weights: in one of the files, or a copy that lives as long as this
  /// object, on 64 bytes; the same one for the same weights, such as an embedding that is the head
  /// too.
  /// @throws std::bad_alloc
  const void* keep(const void* weights, std::size_t bytes);

 private:
  struct Region;
  std::mutex mutex_;
  std::vector<const WeightFile*> files_;
  std::vector<std::unique_ptr<Region>> regions_;
  std::map<const void*, const void*> copies_;  // of weights that were kept before
};

}  // namespace kvcache::ops
