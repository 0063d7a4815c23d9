// config.json: what is known about a model before its graph is opened.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "kvcache/types.hpp"
#include "model/decoder_spec.hpp"
#include "weights/weight_file.hpp"

namespace kvcache::model {

/// Of config.json and the graph (docs/MODEL_FILE.md), that this library reads.
constexpr std::size_t kFormatVersion = 2;

/// What a file of the model directory is for.
enum class FileRole { graph, weights, tokenizer, chat_template };

/// A file of the model directory, as it was when exported.
struct ModelFile {
  std::string name;
  FileRole role = FileRole::weights;
  std::uintmax_t bytes = 0;
  std::string xxh3_128;
};

struct Config {
  ModelInfo info;
  DecoderSpec spec;  // info's sizes are from it
  std::filesystem::path directory;
  std::string model_file;
  std::vector<ModelFile> files;
  std::set<std::string> overrides;  // types of single matrices, other than info.weights

  [[nodiscard]] std::filesystem::path model_path() const { return directory / model_file; }
};

/// The config.json at `path` from its text: every field, each within its range.
///
/// @throws Error config_invalid (naming the field, what it is and what it must be)
Config parse_config(std::string_view text, const std::filesystem::path& path);

/// Reads config.json of the model directory `path`, or of the directory of the .onnx file `path`.
///
/// @throws Error model_not_found, config_invalid (naming the field)
Config read_config(const std::filesystem::path& path);

/// Compares the files' sizes with those of config.json.
///
/// @throws Error model_not_found, digest_mismatch (naming the file)
void check_file_sizes(const Config& config);

/// Files that are being read into memory, by name.
using LoadedFiles = std::map<std::string, const weights::WeightFile*>;

/// Compares the files' digests with those of config.json: of what is in memory there, so that the
/// very bytes that are used are checked, else of the file.
///
/// @throws Error model_not_found, digest_mismatch (naming the file)
void check_file_digests(const Config& config, const LoadedFiles& loaded = {});

}  // namespace kvcache::model
