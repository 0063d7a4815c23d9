#include "support/models.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace kvcache::test {
namespace {

/// The directory that an environment variable names, else the one the build was configured with.
fs::path directory_from(const char* variable, const char* configured) {
  const char* value = std::getenv(variable);  // NOLINT(concurrency-mt-unsafe)
  return value != nullptr ? value : configured;
}

/// Refuses one that scripts/test has not exported.
fs::path existing(fs::path path) {
  if (!fs::exists(path)) {
    throw std::runtime_error(path.string() + " does not exist: scripts/test exports it");
  }
  return path;
}

fs::path models_directory() {
  return directory_from("KVCACHE_MODELS_DIR", KVCACHE_TEST_MODELS_DIR);
}

fs::path path_beside(const std::string& golden, const char* suffix) {
  const fs::path models = models_directory();
  return existing(models.parent_path() / (models.filename().string() + suffix) / golden);
}

/// A field of the config.json of the models under test.
std::string models_field(const char* field) {
  std::ifstream config(model_path(golden_names().front()) / "config.json");
  return nlohmann::json::parse(config).at(field).get<std::string>();
}

}  // namespace

std::string read_file(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_file(const fs::path& file, const std::string& bytes) {
  std::ofstream(file, std::ios::binary) << bytes;
}

fs::path goldens_directory() {
  return directory_from("KVCACHE_GOLDENS_DIR", KVCACHE_TEST_GOLDENS_DIR);
}

std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(goldens_directory())) {
    if (fs::exists(entry.path() / "golden.json")) {
      names.push_back(entry.path().filename().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

fs::path model_path(const std::string& golden) { return existing(models_directory() / golden); }

fs::path family_model_path(const std::string& golden) { return path_beside(golden, "-families"); }

fs::path graph_of(const fs::path& model) {
  std::ifstream config(model / "config.json");
  return model / nlohmann::json::parse(config).at("model_file").get<std::string>();
}

fs::path int8_cache_model_path(const std::string& golden) {
  return path_beside(golden, "-int8-cache");
}

fs::path hidden_states_model_path(const std::string& golden) {
  return path_beside(golden, "-hidden-states");
}

namespace {

/// The numbers of a .npy version 1 file: magic, version, header length (little endian), header,
/// data.
std::vector<float> read_npy(const fs::path& file) {
  const std::string bytes = read_file(file);
  const auto header_size = static_cast<std::size_t>(static_cast<unsigned char>(bytes.at(8))) +
                           std::size_t{256} * static_cast<unsigned char>(bytes.at(9));
  const std::string header = bytes.substr(10, header_size);
  if (header.find("'<f4'") == std::string::npos ||
      header.find("'fortran_order': False") == std::string::npos) {
    throw std::runtime_error(file.string() + " must be float32 in C order");
  }
  std::vector<float> numbers((bytes.size() - 10 - header_size) / sizeof(float));
  std::memcpy(numbers.data(), bytes.data() + 10 + header_size, numbers.size() * sizeof(float));
  return numbers;
}

}  // namespace

Golden read_golden(const std::string& name) {
  const fs::path directory = goldens_directory() / name;
  std::ifstream json(directory / "golden.json");
  Golden golden;
  golden.ids = nlohmann::json::parse(json).at("ids").get<std::vector<TokenId>>();
  golden.logits = read_npy(directory / "logits.npy");
  if (fs::exists(directory / "values.npy")) {
    golden.values = read_npy(directory / "values.npy");
  }
  return golden;
}

std::vector<TokenId> random_tokens(Random& random, const ModelInfo& info, std::int64_t count) {
  std::vector<TokenId> tokens(static_cast<std::size_t>(count));
  std::generate(tokens.begin(), tokens.end(),
                [&] { return random.integer(0, static_cast<std::int64_t>(info.vocab_size) - 1); });
  return tokens;
}

const std::string& models_dtype() {
  static const std::string dtype = models_field("dtype");
  return dtype;
}

const std::string& models_cache_dtype() {
  static const std::string cache_dtype = models_field("cache_dtype");
  return cache_dtype;
}

const std::string& models_weights() {
  static const std::string weights = models_field("weights");
  return weights;
}

const std::string& models_activations() {
  static const std::string activations = models_field("activations");
  return activations;
}

ForcedCpu::ForcedCpu() { ::setenv("TRIGO_FORCE_CPU", "1", 1); }  // NOLINT(concurrency-mt-unsafe)
ForcedCpu::~ForcedCpu() { ::unsetenv("TRIGO_FORCE_CPU"); }       // NOLINT(concurrency-mt-unsafe)

bool models_are_families() { return goldens_directory().filename() == "families"; }

double tolerance() {
  if (models_activations() == "int8") {
    return 5e-2;
  }
  if (models_activations() == "bfloat16" && models_dtype() == "float32") {
    return 0x1p-6;
  }
  if (models_cache_dtype() != models_dtype()) {
    static const std::map<std::string, double> steps{
        {"float16", 0x1p-10}, {"bfloat16", 0x1p-7}, {"int8", 0x1p-6}};
    return steps.at(models_cache_dtype());
  }
  if (models_dtype() == "float32") {
    return 1e-4;
  }
  const bool half = models_dtype() == "float16";
  return models_are_families() ? (half ? 6e-2 : 5e-1) : (half ? 2e-2 : 1.6e-1);
}

double golden_tolerance() {
  static const std::map<std::string, double> limits{
      {"float32", 1e-4}, {"float16", 1e-2}, {"bfloat16", 5e-2}, {"int8", 2e-1}};
  if (models_are_families() && models_dtype() != "float32") {  // docs/EXACTNESS.md
    return models_dtype() == "bfloat16" ? 1.2e-1 : 1.5e-2;
  }
  const double of_cache = models_cache_dtype() == "int8" ? 1e-1 : limits.at(models_cache_dtype());
  return std::max(limits.at(models_weights()), of_cache);
}

void expect_close(std::span<const float> found, std::span<const float> expected, double within) {
  ASSERT_EQ(found.size(), expected.size());
  double scale = 0;
  double largest = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    ASSERT_TRUE(std::isfinite(found[i])) << "at " << i;
    scale = std::max(scale, std::abs(static_cast<double>(expected[i])));
    largest = std::max(largest, std::abs(static_cast<double>(found[i]) - expected[i]));
  }
  EXPECT_LE(largest, within * scale)
      << "largest difference " << largest << ", largest logit " << scale;
}

Model load_poisoned(Random& random) {
  constexpr std::size_t kBlockLens[] = {1, 3, 4, 8, 16};
  ModelOptions options;
  options.block_len = random.pick(std::span(kBlockLens));
  options.poison_freed_blocks = true;
  return Model::load(model_path(random.pick(golden_names())), options);
}

void expect_as_uncached(const Model& model, std::span<const float> found,
                        std::span<const TokenId> text) {
  const Logits logits = model.forward_without_cache(text);
  const std::span<const float> expected = logits.last();
  expect_close(found, expected);
  const auto best = std::ranges::max_element(found) - found.begin();
  const float highest = std::ranges::max(expected);
  EXPECT_GE(expected[static_cast<std::size_t>(best)],
            highest - 2 * static_cast<float>(tolerance()) * std::abs(highest));
}

void expect_code_and_part(const Error& error, ErrorCode code, const std::string& part) {
  EXPECT_EQ(error_code_name(error.code()), error_code_name(code)) << error.what();
  EXPECT_NE(std::string(error.what()).find(part), std::string::npos)
      << "message: " << error.what() << "\nlacks: " << part;
}

}  // namespace kvcache::test
