// config.json: each field is what it must be, or refused by name.
#include "model/config.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "support/models.hpp"
#include "support/temporary_directory.hpp"

namespace kvcache::model {
namespace {

using nlohmann::json;
using test::expect_error;
namespace fs = std::filesystem;

json valid_layer() {
  return json::parse(R"({
    "norm": {"kind": "layer_norm", "epsilon": 1e-5, "bias": true},
    "attention": {"num_heads": 3, "num_kv_heads": 3, "head_dim": 4, "scale": 0.5,
                  "bias": {"qkv": true, "output": true}, "rotary": null, "window": null,
                  "soft_cap": null, "qk_norm": null},
    "mlp": {"inner_size": 48, "activation": "gelu_tanh", "gated": false,
            "bias": {"up": true, "down": true}}})");
}

json valid_config() {
  json config = json::parse(R"({
    "format": "kvcache", "format_version": 2, "variant": "cached_attention",
    "model_file": "m.onnx", "model_type": "gpt2", "source": "a test",
    "dtype": "float32", "cache_dtype": "float32", "weights": "float32", "activations": "float32",
    "spec": {
      "hidden_size": 12, "vocab_size": 50, "max_seq_len": 64,
      "embedding": {"scale": 1.0, "positions": "learned"},
      "layers": [],
      "final_norm": {"kind": "layer_norm", "epsilon": 1e-5, "bias": true},
      "head": {"tied": true, "soft_cap": null}},
    "outputs": [{"name": "logits", "shape": ["tokens", "vocab_size"], "tokens": "selected"},
                {"name": "value", "shape": ["tokens", 1], "tokens": "selected"}],
    "weight_bytes_per_token": 1000,
    "files": [
      {"name": "m.onnx", "role": "graph", "bytes": 10, "xxh3_128": "00112233445566778899aabbccddeeff"},
      {"name": "m.onnx.data", "role": "weights", "bytes": 20, "xxh3_128": "ffeeddccbbaa99887766554433221100"}]})");
  config["spec"]["layers"] = {valid_layer(), valid_layer()};
  return config;
}

Config parse(const json& config) { return parse_config(config.dump(), "dir/config.json"); }

/// Expects that a config whose field at `pointer` is `value` is refused with this message.
void expect_refused(const char* pointer, const json& value, const std::string& message) {
  SCOPED_TRACE(pointer + (" = " + value.dump()));
  json config = valid_config();
  config[json::json_pointer(pointer)] = value;
  expect_error(ErrorCode::config_invalid, message, [&] { parse(config); });
}

/// A place in a document as a JSON pointer has it.
std::string pointer_of(std::string place) {
  std::ranges::replace(place, '.', '/');
  std::ranges::replace(place, '[', '/');
  std::erase(place, ']');
  return place;
}

TEST(Config, HasTheIdsOfSpecialTokens) {
  json config = valid_config();
  const ModelInfo none = parse(config).info;
  EXPECT_FALSE(none.bos_token_id || none.eos_token_id || none.pad_token_id);
  EXPECT_TRUE(none.stop_token_ids.empty());
  config.update({{"bos_token_id", 1}, {"eos_token_id", 49}, {"pad_token_id", nullptr}});
  const ModelInfo without_list = parse(config).info;
  EXPECT_EQ(without_list.bos_token_id, 1);
  EXPECT_EQ(without_list.eos_token_id, 49);
  EXPECT_FALSE(without_list.pad_token_id.has_value());
  EXPECT_EQ(without_list.stop_token_ids, std::vector<TokenId>{49});
  config["stop_token_ids"] = {49, 7};
  EXPECT_EQ(parse(config).info.stop_token_ids, (std::vector<TokenId>{49, 7}));
  config["stop_token_ids"] = json::array();
  EXPECT_TRUE(parse(config).info.stop_token_ids.empty());
}

TEST(Config, RefusesIdsOutsideTheVocabulary) {
  for (const char* name : {"/bos_token_id", "/eos_token_id", "/pad_token_id"}) {
    expect_refused(
        name, 50, fmt::format("field \"{}\" is 50, must be a whole number from 0 to 49", name + 1));
    expect_refused(name, -1, "from 0 to 49");
    expect_refused(name, "</s>", "from 0 to 49");
  }
  expect_refused("/stop_token_ids", {3, 50}, "\"stop_token_ids[1]\" is 50");
  expect_refused("/stop_token_ids", {3, 3}, "must be another token than those before");
  expect_refused("/stop_token_ids", 3, "must be an array");
}

TEST(Config, IsRead) {
  const Config config = parse(valid_config());
  EXPECT_EQ(config.directory, "dir");
  EXPECT_EQ(config.model_path(), "dir/m.onnx");
  EXPECT_EQ(config.info.num_layers, 2U);
  EXPECT_EQ(config.info.max_seq_len, 64U);
  EXPECT_FALSE(config.info.relative_positions);
  EXPECT_EQ(config.info.model_bytes, 30U);
  EXPECT_EQ(config.info.digest, "00112233445566778899aabbccddeeffffeeddccbbaa99887766554433221100");
  ASSERT_EQ(config.files.size(), 2U);
  EXPECT_EQ(config.files[1].name, "m.onnx.data");
  EXPECT_EQ(config.files[0].role, FileRole::graph);
  EXPECT_EQ(config.files[1].role, FileRole::weights);
}

TEST(Config, KnowsTheTypesOfOverrides) {
  json config = valid_config();
  EXPECT_TRUE(parse(config).overrides.empty());
  config["weights_overrides"] = {
      {"embedding.tokens", "int8"}, {"*.down", "float16"}, {"h", "int8"}};
  EXPECT_EQ(parse(config).overrides, (std::set<std::string>{"float16", "int8"}));
  expect_refused("/weights_overrides", {{"head", "int5"}},
                 "field \"weights_overrides.head\" is \"int5\", must be float32, float16");
  expect_refused("/weights_overrides", {"int8"}, "must be an object");
}

TEST(Config, PositionsAreRelativeWhereNoneAreLearned) {
  json config = valid_config();
  config["spec"]["embedding"]["positions"] = "none";
  EXPECT_TRUE(parse(config).info.relative_positions);
}

TEST(Config, RefusesSizesThatAreNoWholeNumbersOrOutOfRange) {
  for (const std::string field :
       {"layers[0].attention.num_heads", "layers[1].attention.head_dim", "layers[0].mlp.inner_size",
        "hidden_size", "vocab_size", "max_seq_len"}) {
    const std::string pointer = "/spec/" + pointer_of(field);
    for (const json& value : {json(2.9), json(2.0), json(0), json(-1), json(2147483648), json(1e30),
                              json("2"), json(true), json(nullptr), json::array({2})}) {
      expect_refused(pointer.c_str(), value, "dir/config.json: field \"spec." + field + "\" is ");
      expect_refused(pointer.c_str(), value, "must be a whole number from 1 to 2147483647; export");
    }
  }
  expect_refused("/weight_bytes_per_token", -1, "must be a whole number of at least 0");
  expect_refused("/weight_bytes_per_token", 1.5, "must be a whole number of at least 0");
  expect_refused("/format_version", 1.0, "must be a whole number");
}

TEST(Config, RefusesSizesWhoseProductOverflows) {
  json config = valid_config();
  config["spec"]["max_seq_len"] = 2147483647;
  for (json& layer : config["spec"]["layers"]) {
    for (const char* field : {"num_heads", "num_kv_heads", "head_dim"}) {
      layer["attention"][field] = 2147483647;
    }
  }
  expect_error(ErrorCode::config_invalid,
               "field \"spec.max_seq_len\" is 2147483647, with 2 layers, num_kv_heads 2147483647 "
               "and head_dim 2147483647 the keys and values of one sequence must take at most 2^47 "
               "bytes",
               [&] { parse(config); });
}

TEST(Config, ListsTheOutputsBesideTheLogits) {
  const Config config = parse(valid_config());
  ASSERT_EQ(config.info.outputs.size(), 1U);
  EXPECT_EQ(config.info.outputs[0].name, "value");
  EXPECT_EQ(config.info.outputs[0].size, 1U);
}

TEST(Config, RefusesOutputsThatItCannotBring) {
  expect_refused("/outputs", json::array(), "must list the logits");
  expect_refused("/outputs/0/name", "value", "must be the logits");
  expect_refused("/outputs/0/shape/1", "hidden_size", "must be the logits");
  expect_refused("/outputs/1/name", "logits", "must be another name than those before");
  expect_refused("/outputs/1/tokens", "all",
                 "field \"outputs[1].tokens\" is \"all\", must be \"selected\"");
  expect_refused("/outputs/1/shape", json{1}, "must be [\"tokens\", a size]");
  expect_refused("/outputs/1/shape/0", "batch", "must be [\"tokens\", a size]");
  expect_refused("/outputs/1/shape/1", 0, "field \"outputs[1].shape[1]\" is 0");
  expect_refused("/outputs/1/shape/1", 1.5, "field \"outputs[1].shape[1]\" is 1.5");
  expect_refused("/outputs/1/shape/1", 1 << 30, "field \"outputs[1].shape[1]\" is 1073741824");
}

TEST(Config, RefusesFilesThatLeaveTheDirectory) {
  for (const char* name : {"../m.onnx", "/etc/passwd", "", ".", "..", "sub/m.onnx"}) {
    const std::string rule = "must be the plain name of a file in the same directory";
    expect_refused("/files/1/name", name, "field \"files[1].name\" is ");
    expect_refused("/files/1/name", name, rule);
    expect_refused("/model_file", name, rule);
  }
  expect_refused("/files/1/name", std::string("m.onnx\0x", 8), "must be the plain name");
}

TEST(Config, RefusesAListOfFilesThatContradictsItself) {
  expect_refused("/files/1/name", "m.onnx", "must be another name than those before");
  expect_refused("/model_file", "other.onnx",
                 "field \"model_file\" is \"other.onnx\", must be one of \"files\"");
  expect_refused("/files", json::array(), "must be one of \"files\", of the role graph");
  expect_refused("/files/0/role", "weights", "must be one of \"files\", of the role graph");
  expect_refused("/files/1/role", "other", "must be graph, weights, tokenizer, template");
  expect_refused("/files", 7, "field \"files\" is 7, must be an array");
  expect_refused("/files/0/bytes", -1, "field \"files[0].bytes\" is -1");
  expect_refused("/files/0/bytes", 9223372036854775807, "must have less than 2^63 bytes");
}

TEST(Config, RefusesDigestsOfAnotherForm) {
  for (const char* digest :
       {"", "0011", "00112233445566778899AABBCCDDEEFF", "00112233445566778899aabbccddeeff0"}) {
    expect_refused("/files/0/xxh3_128", digest, "must be 32 hexadecimal digits (0-9, a-f)");
  }
}

TEST(Config, RefusesAFieldThatIsThereTwiceAndDeepNesting) {
  const std::string text = valid_config().dump();
  const auto refused = [](const std::string& document, const std::string& message) {
    expect_error(ErrorCode::config_invalid, message,
                 [&] { parse_config(document, "dir/config.json"); });
  };
  refused(R"({"spec": 1, )" + text.substr(1), "field \"spec\" is there twice");
  refused(R"({"x": )" + std::string(1'000'000, '['), "nested more than");
}

TEST(Config, SaysWhyAPathCannotBeRead) {
  const test::TemporaryDirectory directory;
  const auto expect_not_found = [](const fs::path& path, const std::string& reason) {
    expect_error(ErrorCode::model_not_found, reason, [&] { read_config(path); });
  };
  expect_not_found(directory.path(), "no config.json in");
  expect_not_found(directory.path() / std::string(300, 'x'), "cannot be read: File name too long");
  fs::create_symlink("loop", directory.path() / "loop");
  expect_not_found(directory.path() / "loop", "cannot be read: Too many levels of symbolic links");
  ASSERT_EQ(::mkfifo((directory.path() / "fifo").c_str(), 0600), 0);
  expect_not_found(directory.path() / "fifo", "is neither a directory nor a file");
  fs::create_directory(directory.path() / "config.json");
  expect_not_found(directory.path(), "config.json: Is a directory");
}

}  // namespace
}  // namespace kvcache::model
