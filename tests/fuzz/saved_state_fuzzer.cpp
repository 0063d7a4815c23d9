// A saved state that is loaded and, where that went well, saved again; both by a model whose layers
// give blocks back together and by one where two groups of them do apart. The first byte of the
// input says what of the file is made to match the rest, because a change of any other byte breaks
// it:
//   bit 0: the checksum
//   bit 1: what comes before the header, whose text the input then begins with, up to a zero
//   bit 2: the size, that of as many tokens as bits 3 to 6 say. Without bit 1 the header is the
//          model's, too.
//   bit 7: with these two, that of a state that lacks the keys and values which its next token sees
//          in no layer: format version 2, or 3 of the model with two groups
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <span>
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

constexpr cache::PoolShape shape_of(std::size_t num_layers) {
  return {.num_layers = num_layers,
          .num_heads = 2,
          .head_dim = 3,
          .block_len = 4,
          .element_bytes = 1,
          .max_blocks = 8,
          .scale_bytes = 2};
}

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

/// A model whose state is read, and its cache.
struct Reader {
  explicit Reader(const model::LayerGroups& layers)
      : groups(layers), pool(shape_of(layers.group_of_layer.size()), 1, false, backend, layers) {
    const cache::PoolShape& shape = pool.shape();
    model.digest = kDigest;
    model.cache_dtype = DataType::int8;
    model.num_layers = shape.num_layers;
    model.num_kv_heads = shape.num_heads;
    model.head_dim = shape.head_dim;
    model.vocab_size = 100;
    model.max_seq_len = 16;
    model.window = groups.windows.front();
  }

  HostMemory backend;
  model::LayerGroups groups;
  ModelInfo model;
  cache::BlockPool pool;
};

std::string with_checksum(std::string contents) {
  XXH128_canonical_t checksum;
  XXH128_canonicalFromHash(&checksum, XXH3_128bits(contents.data(), contents.size()));
  contents.append(reinterpret_cast<const char*>(checksum.digest), sizeof(checksum.digest));
  return contents;
}

constexpr std::size_t kChecksumBytes = sizeof(XXH128_canonical_t);

/// Of tokens, and in each group the keys and values of those from its first on.
std::size_t bytes_of(const Reader& reader, std::size_t tokens,
                     const cache::FirstCached& first_cached) {
  std::size_t bytes = tokens * sizeof(TokenId);
  for (std::size_t group = 0; group < reader.groups.size(); ++group) {
    bytes += (tokens - first_cached[group]) * reader.pool.block_bytes(group) /
             reader.pool.shape().block_len;
  }
  return bytes;
}

std::string with_header(std::string_view header, std::string_view rest, char version) {
  std::string file("kvcache\0\1\0\0\0", 12);
  file[8] = version;
  const auto bytes = static_cast<std::uint32_t>(header.size());
  file.append(reinterpret_cast<const char*>(&bytes), sizeof(bytes));
  return file.append(header).append(rest);
}

std::string right_header(const Reader& reader, std::size_t tokens,
                         const cache::FirstCached& first_cached, char version) {
  const cache::PoolShape& shape = reader.pool.shape();
  std::string first;
  if (version == 2) {
    first = fmt::format(R"(,"first_cached":{})", first_cached.front());
  } else if (version == 3) {
    first = fmt::format(R"(,"first_cached":[{}])",
                        fmt::join(std::span(first_cached).first(reader.groups.size()), ","));
  }
  return fmt::format(
      R"({{"model_digest":"{}","num_layers":{},"num_heads":{},"head_dim":{},"element_bytes":{},)"
      R"("tokens":{}{}}})",
      kDigest, shape.num_layers, shape.num_heads, shape.head_dim, shape.element_bytes, tokens,
      first);
}

/// What the first byte of an input asks for.
struct Parts {
  explicit Parts(std::uint8_t how)
      : checksum((how & 1U) != 0),
        header((how & 2U) != 0),
        size((how & 4U) != 0),
        tokens(how / 8 % 16),
        lacks((how & 128U) != 0) {}

  [[nodiscard]] cache::FirstCached first_cached(const Reader& reader) const {
    cache::FirstCached first{};
    for (std::size_t group = 0; lacks && group < reader.groups.size(); ++group) {
      first[group] = tokens - std::min(tokens, reader.groups.windows[group]);
    }
    return first;
  }
  bool checksum;
  bool header;
  bool size;
  std::size_t tokens;
  bool lacks;
};

/// The file that an input, which is not empty, stands for.
std::string file_of(const Reader& reader, std::string_view input) {
  const Parts right(static_cast<std::uint8_t>(input.front()));
  const cache::FirstCached first_cached = right.first_cached(reader);
  const bool whole = first_cached[reader.groups.size() - 1] == 0;
  const auto version = static_cast<char>(whole ? 1 : reader.groups.size() == 1 ? 2 : 3);
  std::string header;
  std::string rest(input.substr(1));
  if (right.header) {
    const std::size_t end = std::min(rest.find('\0'), rest.size());
    header = rest.substr(0, end);
    rest.erase(0, end + 1);
  } else if (right.size) {
    header = right_header(reader, right.tokens, first_cached, version);
  }
  if (right.size) {
    rest.resize(bytes_of(reader, right.tokens, first_cached));
  }
  if (right.header || right.size) {
    rest = with_header(header, rest, version);
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

void load_and_save(Reader& reader, std::string_view input) {
  static const test::TemporaryDirectory directory;
  const ModelInfo& model = reader.model;
  const std::string text = file_of(reader, input);
  const MemoryFile file(text);
  {
    cache::BlockTable table(reader.pool);
    std::vector<TokenId> tokens;
    bool loaded = false;
    test::expect_only_errors([&] {
      tokens = cache::load_state(file.name(), model, table);
      loaded = true;
    });
    const std::size_t block_len = reader.pool.shape().block_len;
    const std::size_t blocks = (tokens.size() + block_len - 1) / block_len;
    if (table.blocks().size() != blocks || tokens.size() > model.max_seq_len ||
        !std::ranges::all_of(tokens, [](TokenId token) { return token >= 0 && token < 100; })) {
      std::abort();
    }
    if (loaded) {
      const auto path = directory.path() / "again.state";
      cache::save_state(path, model.digest, tokens, table);
      const std::size_t bytes = bytes_of(reader, tokens.size(), table.first_cached());
      if (contents(read_file(path, std::size_t{1} << 20), bytes) != contents(text, bytes)) {
        std::abort();
      }
    }
  }
  reader.pool.check_invariants();
  if (reader.pool.stats().blocks_in_use != 0) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Reader together(model::one_group(1, 4));
  static Reader apart({.windows = {8, 4}, .group_of_layer = {1, 0}});
  if (size > 0) {
    load_and_save(together, test::as_text(data, size));
    load_and_save(apart, test::as_text(data, size));
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
