// The spec in config.json: each field is read, or refused by name; what has no kernel is named.
#include "model/decoder_spec.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "base/checked_json.hpp"
#include "support/models.hpp"

namespace kvcache::model {
namespace {

using nlohmann::json;
using test::expect_error;

json valid_spec() {
  return json::parse(R"({
    "hidden_size": 24, "vocab_size": 50, "max_seq_len": 64,
    "embedding": {"scale": 1.0, "positions": "learned"},
    "layers": [{
      "norm": {"kind": "layer_norm", "epsilon": 1e-5, "bias": true},
      "attention": {"num_heads": 6, "num_kv_heads": 6, "head_dim": 4, "scale": 0.5,
                    "bias": {"qkv": true, "output": true}, "rotary": null, "window": null,
                    "soft_cap": null, "qk_norm": null},
      "mlp": {"inner_size": 48, "activation": "gelu_tanh", "gated": false,
              "bias": {"up": true, "down": true}}}],
    "final_norm": {"kind": "layer_norm", "epsilon": 1e-6, "bias": true},
    "head": {"tied": true, "soft_cap": null}})");
}

DecoderSpec read(const json& spec) {
  const JsonDocument document(spec.dump(),
                              {.name = "a test", .code = ErrorCode::config_invalid, .advice = ""});
  return read_decoder_spec(document.root());
}

DecoderSpec read_with(const char* pointer, const json& value) {
  json spec = valid_spec();
  spec[json::json_pointer(pointer)] = value;
  return read(spec);
}

void expect_spec_refused(const char* pointer, const json& value, const std::string& message) {
  SCOPED_TRACE(pointer + (" = " + value.dump()));
  expect_error(ErrorCode::config_invalid, message, [&] { read_with(pointer, value); });
}

TEST(DecoderSpec, IsRead) {
  const DecoderSpec spec = read(valid_spec());
  ASSERT_EQ(spec.layers.size(), 1U);
  const LayerSpec& layer = spec.layers.front();
  EXPECT_EQ(spec.hidden_size, 24U);
  EXPECT_TRUE(spec.learned_positions);
  EXPECT_EQ(layer.norm.kind, NormKind::layer_norm);
  EXPECT_EQ(layer.norm.epsilon, 1e-5F);
  EXPECT_EQ(layer.attention.num_heads, 6U);
  EXPECT_EQ(layer.attention.scale, 0.5F);
  EXPECT_FALSE(layer.attention.rotary);
  EXPECT_EQ(layer.mlp.inner_size, 48U);
  EXPECT_EQ(layer.mlp.activation, "gelu_tanh");
  EXPECT_EQ(spec.final_norm.epsilon, 1e-6F);
  EXPECT_TRUE(spec.tied_head);
  EXPECT_EQ(unsupported_part(spec), "");
}

TEST(DecoderSpec, RefusesWhatHasNoMeaning) {
  expect_spec_refused("/layers", json::array(), "must have an entry for each layer, at least one");
  expect_spec_refused("/layers/0/attention/num_kv_heads", 7, "must be a whole number from 1 to 6");
  expect_spec_refused("/layers/0/attention/num_kv_heads", 4, "must divide num_heads, 6");
  expect_spec_refused("/layers/0/attention/scale", "1", "must be a number from");
  expect_spec_refused("/layers/0/attention/window", 0, "must be a whole number from 1");
  expect_spec_refused("/layers/0/attention/soft_cap", -1, "must be a number from");
  expect_spec_refused("/layers/0/norm/kind", "batch_norm", "must be layer_norm, rms_norm");
  expect_spec_refused("/layers/0/norm/epsilon", 0, "must be a number from");
  expect_spec_refused("/layers/0/mlp/gated", 1, "must be true or false");
  expect_spec_refused("/embedding/positions", "sinusoidal", "must be learned, none");
  const json rotary{{"dims", 3}, {"base", 1e4}, {"interleaved", false}};
  expect_spec_refused("/layers/0/attention/rotary", rotary,
                      "field \"layers[0].attention.rotary.dims\"");
  expect_spec_refused("/layers/0/attention/rotary", rotary, "must be even");
}

TEST(DecoderSpec, WantsKeysAndValuesOfOneShape) {
  json layer = valid_spec()["layers"][0];
  layer["attention"]["num_kv_heads"] = 3;
  expect_spec_refused("/layers/1", layer,
                      "field \"layers[1].attention.num_kv_heads\" is 3, must be layer 0's, 6");
}

TEST(DecoderSpec, ItsLargestWindowIsNoneWhereALayerSeesAll) {
  json spec = valid_spec();
  EXPECT_EQ(largest_window(read(spec)), 0U);
  json layer = spec["layers"][0];
  layer["attention"]["window"] = 5;
  spec["layers"].push_back(layer);
  EXPECT_EQ(largest_window(read(spec)), 0U);
  spec["layers"][0]["attention"]["window"] = 3;
  EXPECT_EQ(largest_window(read(spec)), 5U);
}

TEST(DecoderSpec, NamesWhatHasNoKernel) {
  json layer = valid_spec()["layers"][0];
  layer["mlp"]["gated"] = true;
  layer["mlp"]["activation"] = "relu";
  EXPECT_EQ(unsupported_part(read_with("/layers/0", layer)), "a gate of relu in layer 0");
  layer["mlp"]["activation"] = "silu";
  EXPECT_EQ(unsupported_part(read_with("/layers/0", layer)), "");
  const json rms{{"kind", "rms_norm"}, {"epsilon", 1e-6}, {"bias", true}};
  EXPECT_EQ(unsupported_part(read_with("/layers/0/norm", rms)),
            "an rms_norm with a bias in layer 0");
  EXPECT_EQ(unsupported_part(read_with("/final_norm", rms)),
            "an rms_norm with a bias before the head");
  EXPECT_EQ(unsupported_part(read_with("/layers/0/attention/qk_norm", rms)),
            "norms of queries and keys other than rms_norm in layer 0");
  EXPECT_EQ(unsupported_part(read_with("/layers/0/post_norm", rms)),
            "norms behind attention and network other than rms_norm in layer 0");
}

TEST(DecoderSpec, NamesWhatHasNoKernelOnCuda) {
  EXPECT_EQ(part_without_cuda(read(valid_spec())), "");
  EXPECT_EQ(part_without_cuda(read_with("/layers/0/attention/head_dim", 256)), "");
  EXPECT_EQ(part_without_cuda(read_with("/layers/0/attention/head_dim", 257)),
            "heads of 257 elements, more than 256");
}

}  // namespace
}  // namespace kvcache::model
