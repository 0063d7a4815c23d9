#include "model/config.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include "base/checked_json.hpp"
#include "base/input_file.hpp"
#include "base/throw_error.hpp"
#include "model/digest.hpp"

namespace kvcache::model {
namespace {

namespace fs = std::filesystem;

constexpr const char* kExportHint = "export the model again with export_gpt2_kvcache.py";
constexpr std::size_t kMaxConfigBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxVersion = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kMaxBytes = std::numeric_limits<std::int64_t>::max();
constexpr std::size_t kMaxSequenceBytes = std::size_t{1} << 47;  // the addresses of a process
constexpr std::size_t kMaxOutputSize = std::size_t{1} << 24;
constexpr std::size_t kDigestDigits = 32;

constexpr std::array kDataTypes{DataType::float32, DataType::float16, DataType::bfloat16};
constexpr std::array kCacheTypes{DataType::float32, DataType::float16, DataType::bfloat16,
                                 DataType::int8};
constexpr std::array<std::string_view, 4> kActivations{"float32", "float16", "bfloat16", "int8"};
constexpr std::array<std::string_view, 6> kWeights{"float32", "float16", "bfloat16",
                                                   "int8",    "int4",    "uint4"};

// In FileRole's order.
constexpr std::array<std::string_view, 4> kRoles{"graph", "weights", "tokenizer", "template"};

DataType data_type_of(const JsonValue& field, std::span<const DataType> known) {
  std::vector<std::string_view> names;
  std::ranges::transform(known, std::back_inserter(names), data_type_name);
  const std::string name = field.text_of(names);
  return known[static_cast<std::size_t>(std::ranges::find(names, name) - names.begin())];
}

bool is_output(const ModelInfo& info, const std::string& name) {
  return std::ranges::find(info.outputs, name, &OutputInfo::name) != info.outputs.end();
}

/// Refuses what the library's sizes in bytes cannot hold.
void check_cache_size(const ModelInfo& info, const JsonValue& spec) {
  std::size_t bytes = 2 * info.kv_vector_bytes();  // keys and values
  for (const std::size_t count : {info.num_layers, info.num_kv_heads, info.max_seq_len}) {
    if (__builtin_mul_overflow(bytes, count, &bytes) || bytes > kMaxSequenceBytes) {
      spec.field("max_seq_len")
          .refuse(fmt::format("with {} layers, num_kv_heads {} and head_dim {} the keys and values "
                              "of one sequence must take at most 2^47 bytes",
                              info.num_layers, info.num_kv_heads, info.head_dim));
    }
  }
}

void read_spec(const JsonValue& root, Config& config) {
  const JsonValue spec = root.field("spec");
  config.spec = read_decoder_spec(spec);
  const AttentionSpec& attention = config.spec.layers.front().attention;
  ModelInfo& info = config.info;
  info.num_layers = config.spec.layers.size();
  info.num_heads = attention.num_heads;
  info.num_kv_heads = attention.num_kv_heads;
  info.head_dim = attention.head_dim;
  info.hidden_size = config.spec.hidden_size;
  info.vocab_size = config.spec.vocab_size;
  info.max_seq_len = config.spec.max_seq_len;
  info.relative_positions = !config.spec.learned_positions;
  info.window = largest_window(config.spec);
  info.weight_bytes_per_token = root.field("weight_bytes_per_token").size(0, kMaxBytes);
  check_cache_size(info, spec);
}

std::optional<TokenId> read_token(const JsonValue& root, std::string_view name,
                                  std::size_t vocab_size) {
  if (!root.has(name) || root.field(name).is_null()) {
    return std::nullopt;
  }
  return static_cast<TokenId>(root.field(name).size(0, vocab_size - 1));
}

/// Those that stand for something else than text. Where a file of an earlier exporter lists no
/// tokens to stop at, that is the end token.
void read_special_tokens(const JsonValue& root, ModelInfo& info) {
  info.bos_token_id = read_token(root, "bos_token_id", info.vocab_size);
  info.eos_token_id = read_token(root, "eos_token_id", info.vocab_size);
  info.pad_token_id = read_token(root, "pad_token_id", info.vocab_size);
  if (root.has("stop_token_ids")) {
    const JsonValue stop_token_ids = root.field("stop_token_ids");
    for (const JsonValue& entry : stop_token_ids.elements()) {
      const auto token = static_cast<TokenId>(entry.size(0, info.vocab_size - 1));
      if (std::ranges::find(info.stop_token_ids, token) != info.stop_token_ids.end()) {
        entry.refuse("must be another token than those before");
      }
      info.stop_token_ids.push_back(token);
    }
  } else if (info.eos_token_id) {
    info.stop_token_ids.push_back(*info.eos_token_id);
  }
}

/// The logits first, then what else the graph computes of the tokens whose logits are asked for.
void read_outputs(const JsonValue& root, ModelInfo& info) {
  const JsonValue outputs = root.field("outputs");
  bool is_first = true;
  for (const JsonValue& entry : outputs.elements()) {
    const JsonValue name = entry.field("name");
    const JsonValue shape = entry.field("shape");
    const std::vector<JsonValue> axes = shape.elements();
    if (const JsonValue tokens = entry.field("tokens"); tokens.text() != "selected") {
      tokens.refuse("must be \"selected\", the tokens whose logits are asked for");
    }
    if (axes.size() != 2 || axes[0].text() != "tokens") {
      shape.refuse("must be [\"tokens\", a size]");
    }
    if (std::exchange(is_first, false)) {
      if (name.text() != "logits" || axes[1].text() != "vocab_size") {
        entry.refuse("must be the logits, of the shape [\"tokens\", \"vocab_size\"]");
      }
    } else if (name.text() == "logits" || is_output(info, name.text())) {
      name.refuse("must be another name than those before");
    } else {
      info.outputs.push_back({name.text(), axes[1].size(1, kMaxOutputSize)});
    }
  }
  if (is_first) {
    outputs.refuse("must list the logits");
  }
}

void read_types(const JsonValue& root, ModelInfo& info) {
  info.dtype = data_type_of(root.field("dtype"), kDataTypes);
  const JsonValue cache_dtype = root.field("cache_dtype");
  info.cache_dtype = data_type_of(cache_dtype, kCacheTypes);
  if (info.cache_dtype != info.dtype && info.dtype != DataType::float32) {
    cache_dtype.refuse(fmt::format("must be the dtype, {}: only a float32 model's may differ",
                                   data_type_name(info.dtype)));
  }
  info.weights = root.field("weights").text_of(kWeights);
  info.activations = root.field("activations").text_of(kActivations);
}

FileRole role_of(const JsonValue& field) {
  const std::string role = field.text_of(kRoles);
  return static_cast<FileRole>(std::ranges::find(kRoles, role) - kRoles.begin());
}

void read_files(const JsonValue& root, Config& config) {
  ModelInfo& info = config.info;
  const JsonValue files = root.field("files");
  for (const JsonValue& entry : files.elements()) {
    const JsonValue name = entry.field("name");
    const JsonValue bytes = entry.field("bytes");
    const ModelFile file{name.file_name(), role_of(entry.field("role")), bytes.size(0, kMaxBytes),
                         entry.field("xxh3_128").hex_digest(kDigestDigits)};
    if (std::ranges::find(config.files, file.name, &ModelFile::name) != config.files.end()) {
      name.refuse("must be another name than those before");
    }
    info.model_bytes += file.bytes;  // both below 2^63
    if (info.model_bytes > kMaxBytes) {
      bytes.refuse("all files together must have less than 2^63 bytes");
    }
    info.digest += file.xxh3_128;
    config.files.push_back(file);
  }
  const auto graph = std::ranges::find(config.files, config.model_file, &ModelFile::name);
  if (graph == config.files.end() || graph->role != FileRole::graph) {
    root.field("model_file").refuse("must be one of \"files\", of the role graph");
  }
}

[[noreturn]] void not_a_model(const fs::path& path, const std::string& reason) {
  throw_error(ErrorCode::model_not_found,
              "{} {}; give a model directory written by export_gpt2_kvcache.py", path.string(),
              reason);
}

/// The directory of the model, and the graph's file name where the caller named one.
std::pair<fs::path, std::optional<std::string>> locate(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  switch (status.type()) {
    case fs::file_type::directory:
      return {path, std::nullopt};
    case fs::file_type::regular:
      return {path.parent_path().empty() ? fs::path(".") : path.parent_path(),
              path.filename().string()};
    case fs::file_type::not_found:
      not_a_model(path, "does not exist");
    default:
      not_a_model(
          path, error ? "cannot be read: " + error.message() : "is neither a directory nor a file");
  }
}

std::string read_text(const fs::path& path) {
  try {
    return read_file(path, kMaxConfigBytes);
  } catch (const std::system_error& error) {
    const std::string directory = path.parent_path().string();
    if (error.code() == std::errc::no_such_file_or_directory) {
      throw_error(ErrorCode::model_not_found,
                  "no config.json in {}: not a model directory; write one with "
                  "export_gpt2_kvcache.py --output-dir {}",
                  directory, directory);
    }
    throw_error(ErrorCode::model_not_found, "cannot read {}: {}", path.string(),
                error.code().message());
  }
}

[[noreturn]] void digest_mismatch(const Config& config, const ModelFile& file,
                                  const std::string& what, const std::string& expected,
                                  const std::string& found) {
  throw_error(ErrorCode::digest_mismatch,
              "{} is not the file that config.json describes: its {} is {}, must be {}; {}",
              (config.directory / file.name).string(), what, found, expected, kExportHint);
}

}  // namespace

Config parse_config(std::string_view text, const fs::path& path) {
  const JsonDocument document(
      text, {.name = path.string(), .code = ErrorCode::config_invalid, .advice = kExportHint});
  const JsonValue root = document.root();
  if (const JsonValue format = root.field("format"); format.text() != "kvcache") {
    format.refuse("must be \"kvcache\"");
  }
  if (const JsonValue version = root.field("format_version");
      version.size(0, kMaxVersion) != kFormatVersion) {
    version.refuse(fmt::format("must be {}, which this library reads", kFormatVersion));
  }
  if (const JsonValue variant = root.field("variant"); variant.text() != "cached_attention") {
    variant.refuse("must be \"cached_attention\", which this library runs");
  }
  Config config;
  config.directory = path.parent_path();
  config.model_file = root.field("model_file").file_name();
  config.info.model_type = root.field("model_type").text();
  config.info.source = root.field("source").text();
  read_types(root, config.info);
  if (root.has("weights_overrides")) {
    for (const auto& [pattern, type] : root.field("weights_overrides").fields()) {
      config.overrides.insert(type.text_of(kWeights));
    }
  }
  read_spec(root, config);
  read_special_tokens(root, config.info);
  read_outputs(root, config.info);
  read_files(root, config);
  return config;
}

Config read_config(const fs::path& path) {
  const auto [directory, named_file] = locate(path);
  const fs::path config_path = directory / "config.json";
  Config config = parse_config(read_text(config_path), config_path);
  if (named_file && *named_file != config.model_file) {
    throw_error(ErrorCode::model_not_found,
                "{} is not a model: config.json beside it describes {}; give that file or the "
                "directory",
                path.string(), config.model_file);
  }
  return config;
}

void check_file_sizes(const Config& config) {
  for (const ModelFile& file : config.files) {
    std::error_code error;
    const std::uintmax_t bytes = fs::file_size(config.directory / file.name, error);
    if (error) {
      throw_error(ErrorCode::model_not_found, "{}: {}; config.json lists this file, {}",
                  (config.directory / file.name).string(), error.message(), kExportHint);
    }
    if (bytes != file.bytes) {
      digest_mismatch(config, file, "size", std::to_string(file.bytes), std::to_string(bytes));
    }
  }
}

void check_file_digests(const Config& config, const LoadedFiles& loaded) {
  for (const ModelFile& file : config.files) {
    const auto in_memory = loaded.find(file.name);
    const std::string found = in_memory != loaded.end() ? digest_of(*in_memory->second)
                                                        : file_digest(config.directory / file.name);
    if (found != file.xxh3_128) {
      digest_mismatch(config, file, "XXH3-128", file.xxh3_128, found);
    }
  }
}

}  // namespace kvcache::model
