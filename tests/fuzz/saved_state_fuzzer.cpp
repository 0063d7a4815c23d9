// A saved state that is loaded. The first byte of the input says whether the rest is the file, or
// what comes before a checksum that matches: else no input would get beyond it.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "cache/saved_state.hpp"
#include "device/backend.hpp"
#include "device/cpu/reserved_memory.hpp"
#include "fuzz/expect_only_errors.hpp"

namespace {

using namespace kvcache;

constexpr cache::PoolShape kShape{.num_layers = 1,
                                  .num_heads = 2,
                                  .head_dim = 3,
                                  .block_len = 4,
                                  .element_bytes = 1,
                                  .max_blocks = 8,
                                  .scale_bytes = 2};

/// Memory of the host, and nothing that runs: these states are never computed with.
class HostMemory : public device::Backend {
 public:
  [[nodiscard]] Device device() const noexcept override { return Device::cpu; }
  [[nodiscard]] std::string description() const override { return "memory"; }
  void add_to(Ort::SessionOptions& /*options*/) const override { std::abort(); }
  [[nodiscard]] Ort::MemoryInfo memory_info() const override { std::abort(); }
  [[nodiscard]] std::size_t pool_alignment() const noexcept override { return 4096; }
  [[nodiscard]] std::unique_ptr<device::PoolMemory> reserve(std::size_t bytes) override {
    return std::make_unique<device::ReservedMemory>(bytes);
  }
  [[nodiscard]] std::unique_ptr<device::Step> new_step(DataType /*type*/,
                                                       std::size_t /*vocab_size*/) override {
    std::abort();
  }
};

ModelInfo model_info() {
  ModelInfo info;
  info.digest = "0123456789abcdef0123456789abcdef";
  info.cache_dtype = DataType::int8;
  info.num_layers = kShape.num_layers;
  info.num_kv_heads = kShape.num_heads;
  info.head_dim = kShape.head_dim;
  info.vocab_size = 100;
  info.max_seq_len = 16;
  return info;
}

std::string with_checksum(std::string contents) {
  XXH128_canonical_t checksum;
  XXH128_canonicalFromHash(&checksum, XXH3_128bits(contents.data(), contents.size()));
  contents.append(reinterpret_cast<const char*>(checksum.digest), sizeof(checksum.digest));
  return contents;
}

/// A file in memory, and the name by which it can be opened.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : descriptor_(::memfd_create("state", MFD_CLOEXEC)) {
    if (::write(descriptor_, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) {
      std::abort();
    }
  }
  ~MemoryFile() { ::close(descriptor_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  [[nodiscard]] std::string name() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static HostMemory backend;
  static cache::BlockPool pool(kShape, 1, false, backend);
  static const ModelInfo model = model_info();
  if (size == 0) {
    return 0;
  }
  const std::string_view text = test::as_text(data + 1, size - 1);
  const MemoryFile file(data[0] % 2 == 0 ? std::string(text) : with_checksum(std::string(text)));
  {
    cache::BlockTable table(pool);
    bool loaded = false;
    std::size_t length = 0;
    test::expect_only_errors([&] {
      const std::vector<TokenId> tokens = cache::load_state(file.name(), model, table);
      loaded = true;
      length = tokens.size();
      for (const TokenId token : tokens) {
        if (token < 0 || token >= 100) {
          std::abort();
        }
      }
    });
    const std::size_t blocks = (length + kShape.block_len - 1) / kShape.block_len;
    if (table.blocks().size() != (loaded ? blocks : 0) || length > model.max_seq_len) {
      std::abort();
    }
  }
  if (pool.stats().blocks_in_use != 0) {
    std::abort();
  }
  return 0;
}
