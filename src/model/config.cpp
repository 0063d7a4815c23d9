#include "model/config.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "model/digest.hpp"
#include "throw_error.hpp"

namespace kvcache::model {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int kFormatVersion = 1;
constexpr const char* kExportHint = "export the model again with export_gpt2_kvcache.py";

/// One JSON object of config.json, with errors that name the file and the field.
class Fields {
 public:
  Fields(const json& object, fs::path file) : object_(object), file_(std::move(file)) {}

  template <typename T>
  [[nodiscard]] T get(const char* name) const {
    const auto found = object_.find(name);
    if (found == object_.end()) {
      invalid(name, "is missing");
    }
    try {
      return found->get<T>();
    } catch (const json::exception&) {
      invalid(name, fmt::format("has the wrong type: {}", found->dump()));
    }
  }

  [[nodiscard]] std::size_t get_positive(const char* name) const {
    const auto value = get<std::int64_t>(name);
    if (value <= 0 || value > std::numeric_limits<std::int32_t>::max()) {
      invalid(name, fmt::format("is {}, must be at least 1 and below 2^31", value));
    }
    return static_cast<std::size_t>(value);
  }

  [[noreturn]] void invalid(const char* name, const std::string& what) const {
    throw_error(ErrorCode::config_invalid, "{}: field \"{}\" {}; {}", file_.string(), name, what,
                kExportHint);
  }

 private:
  const json& object_;
  fs::path file_;
};

constexpr DataType kDataTypes[] = {DataType::float32, DataType::float16, DataType::bfloat16};
constexpr DataType kCacheTypes[] = {DataType::float32, DataType::float16, DataType::bfloat16,
                                    DataType::int8};
constexpr std::string_view kActivations[] = {"float32", "float16", "bfloat16", "int8"};
constexpr std::string_view kWeights[] = {"float32", "float16", "bfloat16", "int8", "int4"};

DataType parse_data_type(const Fields& fields, const char* field, std::span<const DataType> known) {
  const auto name = fields.get<std::string>(field);
  std::vector<std::string_view> names;
  for (const DataType type : known) {
    names.push_back(data_type_name(type));
    if (name == names.back()) {
      return type;
    }
  }
  fields.invalid(field, fmt::format("is \"{}\", must be {}", name, fmt::join(names, ", ")));
}

json read_json(const fs::path& path) {
  std::ifstream file(path);
  if (!file) {
    throw_error(ErrorCode::model_not_found,
                "no config.json in {}: not a model directory; write one with "
                "export_gpt2_kvcache.py --output-dir {}",
                path.parent_path().string(), path.parent_path().string());
  }
  try {
    return json::parse(file);
  } catch (const json::parse_error& error) {
    throw_error(ErrorCode::config_invalid, "{} is not JSON (byte {}); {}", path.string(),
                error.byte, kExportHint);
  }
}

/// The directory of the model, and the graph's file name where the caller named one.
std::pair<fs::path, std::optional<std::string>> locate(const fs::path& path) {
  if (fs::is_directory(path)) {
    return {path, std::nullopt};
  }
  if (fs::is_regular_file(path)) {
    return {path.parent_path().empty() ? fs::path(".") : path.parent_path(),
            path.filename().string()};
  }
  throw_error(ErrorCode::model_not_found,
              "{} does not exist; give a model directory written by export_gpt2_kvcache.py",
              path.string());
}

[[noreturn]] void digest_mismatch(const Config& config, const ModelFile& file,
                                  const std::string& what, const std::string& expected,
                                  const std::string& found) {
  throw_error(ErrorCode::digest_mismatch,
              "{} is not the file that config.json describes: its {} is {}, must be {}; {}",
              (config.directory / file.name).string(), what, found, expected, kExportHint);
}

}  // namespace

Config read_config(const fs::path& path) {
  const auto [directory, named_file] = locate(path);
  const fs::path config_path = directory / "config.json";
  const json document = read_json(config_path);
  if (!document.is_object()) {
    throw_error(ErrorCode::config_invalid, "{} is not a JSON object; {}", config_path.string(),
                kExportHint);
  }
  const Fields fields(document, config_path);
  if (fields.get<std::string>("format") != "kvcache") {
    fields.invalid("format", "is not \"kvcache\"");
  }
  if (const int version = fields.get<int>("format_version"); version != kFormatVersion) {
    fields.invalid("format_version",
                   fmt::format("is {}, this library reads version {}", version, kFormatVersion));
  }
  if (const auto variant = fields.get<std::string>("variant"); variant != "cached_attention") {
    fields.invalid("variant",
                   fmt::format("is \"{}\", this library runs \"cached_attention\"", variant));
  }

  Config config;
  config.directory = directory;
  config.model_file = fields.get<std::string>("model_file");
  if (named_file && *named_file != config.model_file) {
    throw_error(ErrorCode::model_not_found,
                "{} is not a model: config.json beside it describes {}; give that file or the "
                "directory",
                path.string(), config.model_file);
  }
  ModelInfo& info = config.info;
  info.model_type = fields.get<std::string>("model_type");
  info.source = fields.get<std::string>("source");
  info.dtype = parse_data_type(fields, "dtype", kDataTypes);
  info.cache_dtype = parse_data_type(fields, "cache_dtype", kCacheTypes);
  if (info.cache_dtype != info.dtype && info.dtype != DataType::float32) {
    fields.invalid("cache_dtype",
                   fmt::format("is \"{}\" with dtype {}; only a float32 model's may differ",
                               data_type_name(info.cache_dtype), data_type_name(info.dtype)));
  }
  info.weights = fields.get<std::string>("weights");
  if (std::ranges::find(kWeights, info.weights) == std::end(kWeights)) {
    fields.invalid("weights",
                   fmt::format("is \"{}\", must be {}", info.weights, fmt::join(kWeights, ", ")));
  }
  config.weights_overridden = document.contains("weights_overrides");
  info.activations = fields.get<std::string>("activations");
  if (std::ranges::find(kActivations, info.activations) == std::end(kActivations)) {
    fields.invalid("activations", fmt::format("is \"{}\", must be {}", info.activations,
                                              fmt::join(kActivations, ", ")));
  }
  info.num_layers = fields.get_positive("num_layers");
  info.num_heads = fields.get_positive("num_heads");
  info.head_dim = fields.get_positive("head_dim");
  info.vocab_size = fields.get_positive("vocab_size");
  info.max_seq_len = fields.get_positive("max_seq_len");
  info.weight_bytes_per_token = fields.get<std::size_t>("weight_bytes_per_token");

  for (const json& entry : fields.get<json::array_t>("files")) {
    const Fields file(entry, config_path);
    config.files.push_back({file.get<std::string>("name"), file.get<std::uintmax_t>("bytes"),
                            file.get<std::string>("xxh3_128")});
    info.model_bytes += config.files.back().bytes;
    info.digest += config.files.back().xxh3_128;
  }
  if (config.files.empty()) {
    fields.invalid("files", "is empty");
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
