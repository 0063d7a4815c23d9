#include "cache/state_header.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

#include "base/checked_json.hpp"
#include "base/throw_error.hpp"

namespace kvcache::cache {
namespace {

constexpr std::array<char, 8> kMagic{'k', 'v', 'c', 'a', 'c', 'h', 'e', '\0'};
constexpr std::uint32_t kWhole = 1;              // format versions: all of the sequence,
constexpr std::uint32_t kWithoutBeginning = 2;   // or not what it has given back,
constexpr std::uint32_t kWithoutBeginnings = 3;  // in each group of layers another length
static_assert(kWithoutBeginnings == kNewestFormatVersion);
constexpr std::size_t kMaxHeaderBytes = std::size_t{64} << 10;
constexpr std::size_t kMost = std::numeric_limits<std::int64_t>::max();

std::uint32_t version_of(const FirstCached& first_cached, std::size_t groups) {
  if (first_cached[groups - 1] == 0) {  // no group before it has less
    return kWhole;
  }
  return groups == 1 ? kWithoutBeginning : kWithoutBeginnings;
}

std::string to_text(const StateHeader& header, std::size_t groups) {
  // Not by nlohmann-json: where its memory runs out, 3.11.2 leaks or ends the process. A digest is
  // of hex digits.
  const std::span<const std::size_t> firsts = std::span(header.first_cached).first(groups);
  std::string first_cached;
  switch (version_of(header.first_cached, groups)) {
    case kWithoutBeginning:
      first_cached = fmt::format(R"("first_cached":{},)", firsts.front());
      break;
    case kWithoutBeginnings:
      first_cached = fmt::format(R"("first_cached":[{}],)", fmt::join(firsts, ","));
      break;
    default:
      break;
  }
  return fmt::format(
      R"({{"element_bytes":{},{}"head_dim":{},"model_digest":"{}","num_heads":{},"num_layers":{},)"
      R"("tokens":{}}})",
      header.element_bytes, first_cached, header.head_dim, header.model_digest, header.num_heads,
      header.num_layers, header.tokens);
}

/// One number of all groups, or in version 3 a list with one for each.
FirstCached parse_first_cached(const JsonValue& field, std::uint32_t version, std::size_t groups) {
  FirstCached first_cached{};
  if (version == kWithoutBeginning) {
    std::fill_n(first_cached.begin(), groups, field.size(1, kMost));
    return first_cached;
  }
  const std::vector<std::int64_t> list =
      field.integers(0, std::numeric_limits<std::int64_t>::max());
  if (list.size() != groups) {
    field.refuse(fmt::format("must have {} entries, one for each window of the layers", groups));
  }
  std::ranges::copy(list, first_cached.begin());
  return first_cached;
}

StateHeader parse_header(std::string_view text, std::uint32_t version,
                         const std::filesystem::path& path, std::size_t groups) {
  const JsonDocument document(
      text,
      {.name = fmt::format("{} is not a saved state that can be loaded: its header", path.string()),
       .code = ErrorCode::state_invalid,
       .advice = "save the sequence again"});
  constexpr std::array<std::string_view, 7> kFields{"model_digest", "num_layers",    "num_heads",
                                                    "head_dim",     "element_bytes", "tokens",
                                                    "first_cached"};
  const JsonValue root = document.root();
  const bool whole = version == kWhole;
  root.only_fields(std::span(kFields).first(kFields.size() - (whole ? 1 : 0)));
  return {root.field("model_digest").text(),
          root.field("num_layers").size(1, kMost),
          root.field("num_heads").size(1, kMost),
          root.field("head_dim").size(1, kMost),
          root.field("element_bytes").size(1, kMost),
          root.field("tokens").size(0, kMost),
          whole ? FirstCached{} : parse_first_cached(root.field("first_cached"), version, groups)};
}

std::string read_header_text(StateReader& file) {
  const auto size = file.read_value<std::uint32_t>();
  if (size > kMaxHeaderBytes) {
    file.invalid(
        fmt::format("its header has {} bytes, must have at most {}", size, kMaxHeaderBytes));
  }
  std::string text(size, '\0');
  file.read(std::as_writable_bytes(std::span(text)));
  return text;
}

/// Checks that what is not in the file is nothing that a token to come sees in a group's layers.
void check_first_cached(const StateReader& file, std::size_t tokens, std::size_t first,
                        std::size_t window) {
  if (first == 0) {
    return;
  }
  if (window == 0) {
    file.invalid(
        fmt::format("it lacks the keys and values of its first {} tokens, which all "
                    "tokens of the model see",
                    first));
  }
  if (tokens < window || first > tokens - window) {
    file.invalid(
        fmt::format("of {} tokens it lacks the keys and values of the first {}, of which "
                    "some are among the last {}, which a token of the model sees",
                    tokens, first, window));
  }
}

void check_first_cached(const StateReader& file, const StateHeader& header,
                        const std::vector<std::size_t>& windows) {
  std::size_t before = 0;  // that the group before lacks
  for (std::size_t group = 0; group < windows.size(); ++group) {
    const std::size_t first = header.first_cached[group];
    check_first_cached(file, header.tokens, first, windows[group]);
    if (first < before) {
      file.invalid(
          fmt::format("it lacks the keys and values of the first {} tokens in layers that see "
                      "more, and of the first {} in those that see less, which must lack as many",
                      before, first));
    }
    before = first;
  }
}

}  // namespace

StateHeader header_of(const std::string& model_digest, const PoolShape& shape, std::size_t tokens,
                      const FirstCached& first_cached) {
  return {model_digest,        shape.num_layers, shape.num_heads, shape.head_dim,
          shape.element_bytes, tokens,           first_cached};
}

std::size_t bytes_behind(const StateHeader& header, const BlockPool& pool) {
  std::size_t bytes = header.tokens * sizeof(TokenId);
  for (std::size_t group = 0; group < pool.groups().size(); ++group) {
    bytes += (header.tokens - header.first_cached[group]) *
             (pool.block_bytes(group) / pool.shape().block_len);
  }
  return bytes;
}

void write_header(StateWriter& file, const StateHeader& header, std::size_t groups) {
  const std::string text = to_text(header, groups);
  file.write_value(kMagic);
  file.write_value(version_of(header.first_cached, groups));
  file.write_value(static_cast<std::uint32_t>(text.size()));
  file.write(std::as_bytes(std::span(text)));
}

std::uint32_t read_version(StateReader& file, const std::filesystem::path& path) {
  if (file.read_value<std::array<char, 8>>() != kMagic) {
    file.invalid("it does not begin as one");
  }
  const auto version = file.read_value<std::uint32_t>();
  if (version < kWhole || version > kWithoutBeginnings) {
    throw_error(ErrorCode::state_mismatch,
                "{} has format version {}, this library reads versions {} to {}; use the version "
                "that saved it",
                path.string(), version, kWhole, kWithoutBeginnings);
  }
  return version;
}

StateHeader read_header(StateReader& file, std::uint32_t version, const std::filesystem::path& path,
                        const ModelInfo& model, const BlockPool& pool) {
  const PoolShape& shape = pool.shape();
  const model::LayerGroups& groups = pool.groups();
  if (version == kWithoutBeginnings && groups.size() == 1) {
    throw_error(ErrorCode::state_mismatch,
                "{} lacks keys and values of its first tokens in some layers of the model, whose "
                "layers hold the same tokens as it was loaded; load the model with "
                "rewindable_tokens, as the one was that saved it",
                path.string());
  }
  StateHeader header = parse_header(read_header_text(file), version, path, groups.size());
  if (header.element_bytes != shape.element_bytes) {
    throw_error(ErrorCode::state_mismatch,
                "{} is the state of a model whose keys and values take {} bytes an element, this "
                "model's take {}; load it with the model that saved it, or with one of the same "
                "--cache-dtype",
                path.string(), header.element_bytes, shape.element_bytes);
  }
  if (header != header_of(model.digest, shape, header.tokens, header.first_cached)) {
    throw_error(ErrorCode::state_mismatch,
                "{} is the state of another model (digest {}, this model has {}); load it with the "
                "model that saved it",
                path.string(), header.model_digest, model.digest);
  }
  if (header.tokens > model.max_seq_len) {
    file.invalid(fmt::format("it holds {} tokens, the model has {} positions", header.tokens,
                             model.max_seq_len));
  }
  check_first_cached(file, header, groups.windows);
  if (const std::uint64_t expected = bytes_behind(header, pool); file.left() != expected) {
    file.invalid(fmt::format("{} bytes follow its header, {} tokens take {}", file.left(),
                             header.tokens, expected));
  }
  return header;
}

}  // namespace kvcache::cache
