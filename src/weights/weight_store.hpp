// Where the kernels read their weights.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/memory_map.hpp"
#include "weights/weight_file.hpp"

namespace kvcache::weights {

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
  /// must outlive this object. ONNX Runtime's own pages of it are then never touched, but for those
  /// of read_in_place().
  void read_from(const WeightFile& file);

  /// Where to read `bytes` of weights: in one of the files, or a copy that lives as long as this
  /// object, on 64 bytes; the same one for the same weights, such as an embedding that is the head
  /// too.
  /// @throws std::bad_alloc; Error digest_mismatch where they lie in a file that is none of those:
  ///         it took the place of one
  const void* keep(const void* weights, std::size_t bytes);

  /// What is small, such as a bias, the kernels read where ONNX Runtime mapped it.
  /// @throws as keep()
  void read_in_place(const void* weights, std::size_t bytes);

  /// The pages of this file that are read in place.
  [[nodiscard]] std::vector<MappedPlace> places_read(const WeightFile& file) const;

 private:
  struct Region;
  /// A part of a file that was read or mapped before.
  struct InFile {
    const WeightFile* file;
    std::size_t offset;
  };
  std::optional<InFile> find(const void* weights, std::size_t bytes);

  mutable std::mutex mutex_;
  std::optional<MemoryMap> map_;
  std::vector<const WeightFile*> files_;
  std::vector<std::unique_ptr<Region>> regions_;
  std::map<const void*, const void*> copies_;  // of weights that were kept before
  std::map<std::byte*, std::pair<InFile, std::size_t>> in_place_;  // pages, and how many bytes
};

}  // namespace kvcache::weights
