// A saved state that is loaded and, where that went well, saved again. The first byte of the input
// says what of the file is made to match the rest, because a change of any other byte breaks it:
//   bit 0: the checksum
//   bit 1: what comes before the header, whose text the input then begins with, up to a zero
//   bit 2: the size, that of as many tokens as bits 3 to 6 say. Without bit 1 the header is the
//          model's, too.
//   bit 7: with these two, that of a state that lacks the keys and values before its last
//          kWindow tokens
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/input_file.hpp"
#include "cache/saved_state.hpp"
#include "device/backend.hpp"
#include "device/cpu/reserved_memory.hpp"
#include "fuzz/expect_only_errors.hpp"
#include "fuzz/json_mutator.hpp"
#include "support/temporary_directory.hpp"

namespace {

using namespace kvcache;

constexpr cache::PoolShape kShape{.num_layers = 1,
                                  .num_heads = 2,
                                  .head_dim = 3,
                                  .block_len = 4,
                                  .element_bytes = 1,
                                  .max_blocks = 8,
                                  .scale_bytes = 2};

constexpr std::size_t kWindow = 4;  // of the model

constexpr const char* kDigest = "0123456789abcdef0123456789abcdef";

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
  [[nodiscard]] std::unique_ptr<device::Step> new_step(
      const device::StepModel& /*model*/) override {
    std::abort();
  }
};

ModelInfo model_info() {
  ModelInfo info;
  info.digest = kDigest;
  info.cache_dtype = DataType::int8;
  info.num_layers = kShape.num_layers;
  info.num_kv_heads = kShape.num_heads;
  info.head_dim = kShape.head_dim;
  info.vocab_size = 100;
  info.max_seq_len = 16;
  info.window = kWindow;
  return info;
}

std::string with_checksum(std::string contents) {
  XXH128_canonical_t checksum;
  XXH128_canonicalFromHash(&checksum, XXH3_128bits(contents.data(), contents.size()));
  contents.append(reinterpret_cast<const char*>(checksum.digest), sizeof(checksum.digest));
  return contents;
}

constexpr std::size_t kChecksumBytes = sizeof(XXH128_canonical_t);

/// Of tokens, and the keys and values of those from `first_cached` on.
std::size_t bytes_of(std::size_t tokens, std::size_t first_cached) {
  return tokens * sizeof(TokenId) + (tokens - first_cached) * kShape.token_bytes();
}

std::string with_header(std::string_view header, std::string_view rest, bool whole) {
  std::string file("kvcache\0\1\0\0\0", 12);
  file[8] = whole ? 1 : 2;
  const auto bytes = static_cast<std::uint32_t>(header.size());
  file.append(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
  return file.append(header).append(rest);
}

std::string right_header(std::size_t tokens, std::size_t first_cached) {
  return fmt::format(
      R"({{"model_digest":"{}","num_layers":{},"num_heads":{},"head_dim":{},"element_bytes":{},)"
      R"("tokens":{}{}}})",
      kDigest, kShape.num_layers, kShape.num_heads, kShape.head_dim, kShape.element_bytes, tokens,
      first_cached > 0 ? fmt::format(R"(,"first_cached":{})", first_cached) : "");
}

/// What the first byte of an input asks for.
struct Parts {
  explicit Parts(std::uint8_t how)
      : checksum((how & 1U) != 0),
        header((how & 2U) != 0),
        size((how & 4U) != 0),
        tokens(how / 8 % 16),
        first_cached((how & 128U) != 0 && tokens > kWindow ? tokens - kWindow : 0) {}
  bool checksum;
  bool header;
  bool size;
  std::size_t tokens;
  std::size_t first_cached;
};

/// The file that an input, which is not empty, stands for.
std::string file_of(std::string_view input) {
  const Parts right(static_cast<std::uint8_t>(input.front()));
  std::string header;
  std::string rest(input.substr(1));
  if (right.header) {
    const std::size_t end = std::min(rest.find('\0'), rest.size());
    header = rest.substr(0, end);
    rest.erase(0, end + 1);
  } else if (right.size) {
    header = right_header(right.tokens, right.first_cached);
  }
  if (right.size) {
    rest.resize(bytes_of(right.tokens, right.first_cached));
  }
  if (right.header || right.size) {
    rest = with_header(header, rest, right.first_cached == 0);
  }
  return right.checksum ? with_checksum(rest) : rest;
}

/// The tokens, keys and values at the end of a file.
std::string_view contents(std::string_view file, std::size_t bytes) {
  return file.substr(file.size() - kChecksumBytes - bytes, bytes);
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
  static cache::BlockPool pool(kShape, 1, false, backend,
                               model::one_group(kShape.num_layers, kWindow));
  static const ModelInfo model = model_info();
  static const test::TemporaryDirectory directory;
  if (size == 0) {
    return 0;
  }
  const std::string text = file_of(test::as_text(data, size));
  const MemoryFile file(text);
  {
    cache::BlockTable table(pool);
    std::vector<TokenId> tokens;
    bool loaded = false;
    test::expect_only_errors([&] {
      tokens = cache::load_state(file.name(), model, table);
      loaded = true;
    });
    const std::size_t blocks = (tokens.size() + kShape.block_len - 1) / kShape.block_len;
    if (table.blocks().size() != blocks || tokens.size() > model.max_seq_len ||
        !std::ranges::all_of(tokens, [](TokenId token) { return token >= 0 && token < 100; })) {
      std::abort();
    }
    if (loaded) {
      const auto path = directory.path() / "again.state";
      cache::save_state(path, model.digest, tokens, table);
      const std::size_t bytes = bytes_of(tokens.size(), table.first_cached_in_all());
      if (contents(read_file(path, std::size_t{1} << 20), bytes) != contents(text, bytes)) {
        std::abort();
      }
    }
  }
  if (pool.stats().blocks_in_use != 0) {
    std::abort();
  }
  return 0;
}

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t most, unsigned seed) {
  if (size < 2 || !Parts(data[0]).header || seed % 2 == 0) {
    return LLVMFuzzerMutate(data, size, most);
  }
  // The header's text alone; what follows it moves.
  std::uint8_t* const end = std::find(data + 1, data + size, std::uint8_t{0});
  const std::vector<std::uint8_t> rest(end, data + size);
  const std::size_t header =
      test::JsonMutator(seed).mutate(data + 1, end - data - 1, most - 1 - rest.size());
  std::ranges::copy(rest, data + 1 + header);
  return 1 + header + rest.size();
}
