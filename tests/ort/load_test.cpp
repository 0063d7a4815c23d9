// Everything that Model::load refuses, and that it says so.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <iterator>
#include <limits>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/digest.hpp"
#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache {
namespace {

using nlohmann::json;
using test::expect_error;
using test::read_file;
using test::write_file;
using test::fs::path;

constexpr const char* kGraph = "gpt2_with_cache.onnx";
constexpr const char* kWeights = "gpt2_with_cache.onnx.data";
constexpr WeightMemory kWeightMemories[] = {WeightMemory::huge_pages, WeightMemory::mapped,
                                            WeightMemory::copied};

/// A copy of a tiny model to spoil.
class Load : public testing::Test {
 protected:
  void SetUp() override {
    test::fs::copy(test::model_path(test::golden_names().front()), model(),
                   test::fs::copy_options::recursive);
  }

  [[nodiscard]] path model() const { return directory_.path() / "model"; }

  void change_config(const std::function<void(json&)>& change) const {
    json config = json::parse(read_file(model() / "config.json"));
    change(config);
    write_file(model() / "config.json", config.dump());
  }

  /// Replaces text in the graph by text of the same length, everywhere, and updates its digest.
  void rename_in_graph(const std::string& from, const std::string& to) const {
    std::string bytes = read_file(model() / kGraph);
    for (std::size_t at = bytes.find(from); at != std::string::npos; at = bytes.find(from, at)) {
      bytes.replace(at, from.size(), to);
    }
    write_file(model() / kGraph, bytes);
    change_config([&](json& config) {
      config["files"][0]["xxh3_128"] = model::file_digest(model() / kGraph);
    });
  }

  void expect_load_error(ErrorCode code, const std::string& part,
                         const ModelOptions& options = {}) const {
    expect_error(code, part, [&] { (void)Model::load(model(), options); });
  }

 private:
  test::TemporaryDirectory directory_;
};

TEST_F(Load, TakesTheDirectoryOrTheGraph) {
  EXPECT_EQ(Model::load(model()).info().digest, Model::load(model() / kGraph).info().digest);
}

TEST_F(Load, RefusesWhatIsNotThere) {
  expect_error(ErrorCode::model_not_found, "does not exist; give a model directory",
               [] { (void)Model::load("/no/such/model"); });
  test::fs::remove(model() / "config.json");
  expect_load_error(ErrorCode::model_not_found, "no config.json in");
}

TEST_F(Load, RefusesAMissingFileByName) {
  test::fs::remove(model() / kWeights);
  expect_load_error(ErrorCode::model_not_found, kWeights);
}

TEST_F(Load, RefusesAnotherGraphThanTheConfigs) {
  test::fs::copy(model() / kGraph, model() / "other.onnx");
  expect_error(ErrorCode::model_not_found, "config.json beside it describes gpt2_with_cache.onnx",
               [&] { (void)Model::load(model() / "other.onnx"); });
}

TEST_F(Load, RefusesAConfigThatIsNotJson) {
  write_file(model() / "config.json", "{\"format\": ");
  expect_load_error(ErrorCode::config_invalid, "is not JSON");
}

TEST_F(Load, RefusesAConfigThatIsNoObject) {
  write_file(model() / "config.json", "[1, 2]");
  expect_load_error(ErrorCode::config_invalid, "is an array of 2 elements, must be an object");
}

TEST_F(Load, NamesAMissingField) {
  change_config([](json& config) { config["spec"].erase("hidden_size"); });
  expect_load_error(ErrorCode::config_invalid, "field \"spec.hidden_size\" is missing");
}

TEST_F(Load, NamesAFieldOfTheWrongType) {
  change_config([](json& config) { config["spec"]["vocab_size"] = "many"; });
  expect_load_error(ErrorCode::config_invalid,
                    "field \"spec.vocab_size\" is \"many\", must be a whole number from 1");
}

TEST_F(Load, NamesAFieldOutOfRange) {
  change_config([](json& config) { config["spec"]["max_seq_len"] = 0; });
  expect_load_error(ErrorCode::config_invalid,
                    "field \"spec.max_seq_len\" is 0, must be a whole number from 1");
}

TEST_F(Load, RefusesAFormatItDoesNotKnow) {
  change_config([](json& config) { config["format_version"] = 1; });
  expect_load_error(ErrorCode::config_invalid, "is 1, must be 2, which this library reads");
  change_config([](json& config) { config["format"] = "other"; });
  expect_load_error(ErrorCode::config_invalid,
                    "field \"format\" is \"other\", must be \"kvcache\"");
}

TEST_F(Load, RefusesAnUnknownDtypeAndVariant) {
  const std::string& weights = test::models_weights();
  change_config([](json& config) { config["weights"] = "float8"; });
  expect_load_error(
      ErrorCode::config_invalid,
      "field \"weights\" is \"float8\", must be float32, float16, bfloat16, int8, int4, uint4");
  change_config([&](json& config) { config["weights"] = weights; });
  change_config([](json& config) { config["activations"] = "int16"; });
  expect_load_error(ErrorCode::config_invalid,
                    "field \"activations\" is \"int16\", must be float32, float16, bfloat16, int8");
  change_config([](json& config) { config["activations"] = "float32"; });
  change_config([](json& config) { config["cache_dtype"] = "int3"; });
  expect_load_error(ErrorCode::config_invalid,
                    "field \"cache_dtype\" is \"int3\", must be float32, float16, bfloat16, int8");
  change_config([](json& config) {
    config["dtype"] = "float16";
    config["cache_dtype"] = "bfloat16";
  });
  expect_load_error(
      ErrorCode::config_invalid,
      "field \"cache_dtype\" is \"bfloat16\", must be the dtype, float16: only a float32 "
      "model's may differ");
  change_config([](json& config) { config["dtype"] = "int8"; });
  expect_load_error(ErrorCode::config_invalid,
                    "field \"dtype\" is \"int8\", must be float32, float16, bfloat16;");
  change_config([](json& config) { config["variant"] = "other"; });
  expect_load_error(ErrorCode::config_invalid, "field \"variant\" is \"other\"");
}

TEST_F(Load, RefusesATruncatedFile) {
  test::fs::resize_file(model() / kWeights, 100);
  expect_load_error(ErrorCode::digest_mismatch, "its size is 100, must be");
}

TEST_F(Load, RefusesAnAlteredFileWhereverItsWeightsLie) {
  std::string bytes = read_file(model() / kWeights);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_file(model() / kWeights, bytes);
  for (const WeightMemory memory : kWeightMemories) {
    ModelOptions options;
    options.weight_memory = memory;
    expect_load_error(ErrorCode::digest_mismatch, "its XXH3-128 is", options);
    options.verify_digests = false;
    EXPECT_NO_THROW((void)Model::load(model(), options));
  }
}

TEST_F(Load, ComputesTheSameWhereverTheWeightsLie) {
  if (test::models_dtype() == "bfloat16") {
    GTEST_SKIP() << "ONNX Runtime runs no bfloat16 model on the CPU";
  }
  const std::vector<TokenId> tokens{1, 2, 3};
  std::vector<std::vector<float>> logits;
  for (const WeightMemory memory : kWeightMemories) {
    ModelOptions options;
    options.require_device = Device::cpu;
    options.weight_memory = memory;
    const Model loaded = Model::load(model(), options);
    const Logits found = loaded.new_sequence().extend(tokens);
    logits.emplace_back(found.last().begin(), found.last().end());
  }
  EXPECT_EQ(logits[1], logits[0]);
  EXPECT_EQ(logits[2], logits[0]);
}

TEST_F(Load, RefusesWhatIsNotOnnx) {
  write_file(model() / kGraph, std::string(read_file(model() / kGraph).size(), 'x'));
  ModelOptions trusting;
  trusting.verify_digests = false;
  expect_load_error(ErrorCode::model_invalid, "cannot load", trusting);
}

TEST_F(Load, NamesAWrongInput) {
  rename_in_graph("position_ids", "position_idx");
  expect_load_error(ErrorCode::contract_violation,
                    "input number 1 is position_idx, must be position_ids");
}

TEST_F(Load, NamesAWrongOptionalInput) {
  rename_in_graph("past_lengths", "past_lenghts");
  expect_load_error(ErrorCode::contract_violation, "past_lenghts, must be past_lengths");
}

TEST_F(Load, NamesAWrongOutput) {
  rename_in_graph("present_value_0", "present_walue_0");
  expect_load_error(ErrorCode::contract_violation, "is present_walue_0, must be present_value_0");
}

/// Who follows the spec must do what the graph's nodes do.
TEST_F(Load, NamesWhatContradictsTheGraph) {
  const auto expect_mismatch = [&](const std::string& message, const auto& change) {
    SCOPED_TRACE(message);
    const std::string original = read_file(model() / "config.json");
    change_config([&](json& config) { change(config["spec"]); });
    expect_load_error(ErrorCode::config_mismatch, message);
    write_file(model() / "config.json", original);
  };
  const auto grow = [](json& number) { number = number.get<int>() + 1; };
  const auto attention = [](json& spec) -> json& { return spec["layers"][0]["attention"]; };
  const auto in_all_layers = [&](json& spec, const auto& change) {
    for (json& layer : spec["layers"]) {
      change(layer);
    }
  };
  expect_mismatch("num_layers", [](json& spec) { spec["layers"].push_back(spec["layers"][0]); });
  expect_mismatch("num_kv_heads", [&](json& spec) {
    in_all_layers(spec, [&](json& layer) {
      grow(layer["attention"]["num_heads"]);
      grow(layer["attention"]["num_kv_heads"]);
    });
  });
  expect_mismatch("head_dim", [&](json& spec) {
    in_all_layers(spec, [&](json& layer) { grow(layer["attention"]["head_dim"]); });
  });
  expect_mismatch("vocab_size", [&](json& spec) { grow(spec["vocab_size"]); });
  expect_mismatch("says scale of layers.0.attention 17, but the node of the graph has ",
                  [&](json& spec) { attention(spec)["scale"] = 17; });
  if (test::models_dtype() != "float32") {
    return;  // other nodes may be ONNX Runtime's
  }
  expect_mismatch("max_seq_len", [&](json& spec) { grow(spec["max_seq_len"]); });
  expect_mismatch("hidden_size", [&](json& spec) { grow(spec["hidden_size"]); });
  expect_mismatch("outputs of layers.0.mlp.up",
                  [&](json& spec) { grow(spec["layers"][0]["mlp"]["inner_size"]); });
  expect_mismatch("epsilon of layers.0.attention.qkv",
                  [&](json& spec) { spec["layers"][0]["norm"]["epsilon"] = 0.5; });
  expect_mismatch("epsilon of head", [&](json& spec) { spec["final_norm"]["epsilon"] = 0.5; });
}

TEST_F(Load, RefusesWhatItHasNoKernelFor) {
  const auto expect_refused = [&](const std::string& part, const auto& change) {
    const std::string original = read_file(model() / "config.json");
    change_config([&](json& config) { change(config["spec"]); });
    expect_load_error(
        ErrorCode::model_invalid,
        "has " + part + ", which this library has no kernel for; plain ONNX Runtime runs it");
    write_file(model() / "config.json", original);
  };
  expect_refused("an rms_norm with a bias in layer 0",
                 [](json& spec) { spec["layers"][0]["norm"]["kind"] = "rms_norm"; });
  expect_refused("a gate of relu in layer 0", [](json& spec) {
    spec["layers"][0]["mlp"]["gated"] = true;
    spec["layers"][0]["mlp"]["activation"] = "relu";
  });
}

/// A graph that does otherwise than the spec says would be run by one of the two.
TEST_F(Load, RefusesASpecThatTheGraphDoesNotFollow) {
  if (test::models_dtype() == "bfloat16") {
    GTEST_SKIP() << "a model in bfloat16 runs on a GPU only";
  }
  const test::ForcedCpu cpu;  // a GPU would not be asked, for it has no kernels for any of it
  const auto expect_mismatch = [&](const std::string& said, const auto& change) {
    const std::string original = read_file(model() / "config.json");
    change_config([&](json& config) { change(config["spec"]); });
    expect_load_error(ErrorCode::config_mismatch, "says " + said);
    write_file(model() / "config.json", original);
  };
  const auto of_attention = [](const char* field, const json& value) {
    return [=](json& spec) { spec["layers"][0]["attention"][field] = value; };
  };
  expect_mismatch("window of layers.0.attention 8, but the node of the graph has 0",
                  of_attention("window", 8));
  expect_mismatch("soft_cap of layers.0.attention 30, but", of_attention("soft_cap", 30));
  expect_mismatch("rotary.dims of layers.0.attention 4, but",
                  of_attention("rotary", {{"dims", 4}, {"base", 1e4}, {"interleaved", false}}));
  expect_mismatch(
      "epsilon of qk_norm of layers.0.attention 0.5, but",
      of_attention("qk_norm", {{"kind", "rms_norm"}, {"epsilon", 0.5}, {"bias", false}}));
  if (test::models_dtype() != "float32") {
    return;  // the rest is ONNX Runtime's nodes on the CPU
  }
  expect_mismatch(
      "norm of layers.0.attention.qkv rms_norm, but the node of the graph has layer_norm",
      [](json& spec) {
        spec["layers"][0]["norm"] = {{"kind", "rms_norm"}, {"epsilon", 1e-5}, {"bias", false}};
      });
  expect_mismatch("activation of layers.0.mlp.up silu, but", [](json& spec) {
    spec["layers"][0]["mlp"]["gated"] = true;
    spec["layers"][0]["mlp"]["activation"] = "silu";
  });
  expect_mismatch("soft_cap of head 30, but", [](json& spec) { spec["head"]["soft_cap"] = 30; });
  expect_mismatch("embedding.scale 2.5, but the embedding of the graph has 1",
                  [](json& spec) { spec["embedding"]["scale"] = 2.5; });
}

/// Positions beyond the table would be read from what lies behind it, with plausible logits.
TEST_F(Load, RefusesMorePositionsThanTheGraphHas) {
  if (test::models_dtype() != "float32") {
    GTEST_SKIP() << "the embedding may be ONNX Runtime's node, which checks every position";
  }
  const std::size_t has = Model::load(model()).info().max_seq_len;
  change_config([&](json& config) { config["spec"]["max_seq_len"] = 4 * has; });
  expect_load_error(ErrorCode::config_mismatch, "says max_seq_len " + std::to_string(4 * has) +
                                                    ", but the position table of the graph has " +
                                                    std::to_string(has) + ";");
}

TEST_F(Load, NamesTypesThatContradictTheNodes) {
  if (test::models_dtype() != "float32") {
    GTEST_SKIP() << "the nodes with weights may be ONNX Runtime's";
  }
  const std::string original = read_file(model() / "config.json");
  const std::string& is = test::models_weights();
  const std::string other = is == "float16" ? "bfloat16" : "float16";
  const auto say_other = [&](json& config) { config["weights"] = other; };
  const std::string message = " says weights " + other + ", but the matrices of the graph are ";
  const json overrides = json::parse(original).value("weights_overrides", json::object());
  if (std::find(overrides.begin(), overrides.end(), is) == overrides.end()) {  // no excuse
    change_config(say_other);
    expect_load_error(ErrorCode::config_mismatch, message);
  }
  change_config([&](json& config) {
    say_other(config);
    config.erase("weights_overrides");
  });
  expect_load_error(ErrorCode::config_mismatch, message);
  expect_load_error(ErrorCode::config_mismatch, is + "; export the model again");
  write_file(model() / "config.json", original);
  const std::string& rounded = test::models_activations();
  change_config(
      [&](json& config) { config["activations"] = rounded == "int8" ? "float32" : "int8"; });
  expect_load_error(ErrorCode::config_mismatch, "the products of the graph round them to " +
                                                    (rounded == "float32" ? "none" : rounded));
}

TEST_F(Load, HasNothingToSay) {
  std::vector<std::string> said;
  std::mutex mutex;
  ModelOptions options;
  options.log = [&](std::string_view message) {
    const std::scoped_lock lock(mutex);
    said.emplace_back(message);
  };
  (void)Model::load(model(), options);
  EXPECT_TRUE(said.empty()) << said.size() << " messages, the first: " << said.front();
}

TEST_F(Load, CountsTheCachesBytes) {
  const ModelInfo info = Model::load(model()).info();
  const std::map<std::string, std::size_t> row_bytes{{"float32", 4 * info.head_dim},
                                                     {"float16", 2 * info.head_dim},
                                                     {"bfloat16", 2 * info.head_dim},
                                                     {"int8", info.head_dim + 2}};
  EXPECT_EQ(info.cache_bytes_per_token(),
            2 * info.num_layers * info.num_kv_heads * row_bytes.at(test::models_cache_dtype()));
}

TEST_F(Load, NamesADtypeThatContradictsTheGraph) {
  const std::string& is = test::models_cache_dtype();
  const bool on_cpu = Model::load(model()).device_report().starts_with("cpu: ");
  const std::string said = is == "float16" ? "float32" : "float16";
  change_config([&](json& config) {
    config["cache_dtype"] = said;
    if (test::models_dtype() == "float32") {
      return;
    }
    // Else it would say something else: only a float32 model's weights and cache may be narrower.
    if (config["weights"] == config["dtype"]) {
      config["weights"] = said;
    }
    config["dtype"] = said;
  });
  if (on_cpu && test::models_dtype() == "float16") {
    // All nodes would be ours then, and they are of float32.
    expect_load_error(ErrorCode::model_invalid, "Type 'tensor(float16)' of input parameter");
    return;
  }
  expect_load_error(ErrorCode::contract_violation,
                    "input past_key_0 has type " + is + ", must be " + said);
}

TEST_F(Load, NamesAnAttributeOfQuantizedWeightsThatItCannotUse) {
  const bool is_int8 = test::models_weights() == "int8";
  if (!is_int8 && !test::models_weights().ends_with("int4")) {
    GTEST_SKIP() << "these models' weights are not quantised";
  }
  // An attribute's name is followed by the tag of its integer and that itself.
  const auto change = [&](const std::string& name, char from, char to) {
    rename_in_graph(name + "\x18" + from, name + "\x18" + to);
  };
  const char block_size = is_int8 ? 64 : 32;
  change("block_size", block_size, 48);
  expect_load_error(ErrorCode::model_invalid, "block_size is 48, must be 16, 32, 64, 128 or 256");
  change("block_size", 48, block_size);
  change("bits", is_int8 ? 8 : 4, 5);
  expect_load_error(ErrorCode::model_invalid, "bits is 5, must be 8 or 4");
  change("bits", 5, is_int8 ? 8 : 4);
}

TEST_F(Load, RefusesANumberOfThreadsOutOfRange) {
  ModelOptions options;
  for (const int threads :
       {-1, std::numeric_limits<int>::min(), 4097, std::numeric_limits<int>::max()}) {
    options.num_threads = threads;
    expect_load_error(ErrorCode::invalid_argument,
                      "num_threads is " + std::to_string(threads) +
                          ", must be 0 (one per physical core) or at most 4096",
                      options);
  }
}

TEST_F(Load, RefusesABudgetBelowOneBlock) {
  ModelOptions options;
  options.cache_bytes = 10;
  expect_load_error(ErrorCode::invalid_argument, "cache_bytes is 10, less than one block", options);
}

TEST_F(Load, TurnsAMissingDeviceIntoAnError) {
  ModelOptions options;
  options.require_device = Device::cuda;
  {
    const test::ForcedCpu forced;
    expect_load_error(ErrorCode::device_unavailable,
                      "require_device is cuda, which cannot be used: TRIGO_FORCE_CPU=1 forbids it",
                      options);
  }
  // Quantised weights, and keys and values of any type, are what CUDA has kernels for too.
  const std::string& weights = test::models_weights();
  if (weights != test::models_dtype() && !weights.starts_with("int") && weights != "uint4") {
    expect_load_error(ErrorCode::device_unavailable,
                      "require_device is cuda, which cannot be used: it has weights of " + weights +
                          " and everything else is float32, which there is no CUDA kernel for; "
                          "export with --dtype float16 for a GPU",
                      options);
    return;
  }
#ifndef KVCACHE_USE_CUDA
  expect_load_error(ErrorCode::device_unavailable,
                    "require_device is cuda, which cannot be used: not in this build; build with "
                    "-DUSE_CUDA=ON",
                    options);
#endif
  if (test::models_dtype() == "bfloat16") {
    GTEST_SKIP() << "ONNX Runtime runs no bfloat16 model on the CPU";
  }
  options.require_device = Device::cpu;
  EXPECT_NE(Model::load(model(), options).device_report().find("cpu: "), std::string::npos);
}

TEST_F(Load, SaysThatBfloat16NeedsAGpu) {
  change_config([](json& config) {
    for (const char* type : {"dtype", "cache_dtype", "weights", "activations"}) {
      config[type] = "bfloat16";
    }
  });
  const test::ForcedCpu forced;
  expect_load_error(ErrorCode::device_unavailable,
                    "computes in bfloat16, which ONNX Runtime has no kernels for on a CPU; run it "
                    "on a GPU, or export with --dtype float32 --weights bfloat16 for a CPU; cuda "
                    "cannot be used here: TRIGO_FORCE_CPU=1 forbids it");
}

TEST_F(Load, TakesTheThreadsItIsGiven) {
  ModelOptions options;
  options.num_threads = 3;
  EXPECT_EQ(Model::load(model(), options).num_threads(), 3);
  options.num_threads = 0;
  EXPECT_GE(Model::load(model(), options).num_threads(), 1);
}

}  // namespace
}  // namespace kvcache
