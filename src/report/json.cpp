#include "report/json.hpp"

#include <cmath>

#include "report/statistics.hpp"

namespace kvcache::report {

Json to_json(const Environment& environment) {
  return {{"kvcache_version", environment.kvcache_version},
          {"onnxruntime_version", environment.onnxruntime_version},
          {"compiler", environment.compiler},
          {"operating_system", environment.operating_system},
          {"processor", environment.processor},
          {"physical_cores", environment.physical_cores},
          {"logical_cpus", environment.logical_cpus},
          {"memory_bytes", environment.memory_bytes},
          {"last_level_cache_bytes", environment.last_level_cache_bytes},
          {"transparent_huge_pages", environment.transparent_huge_pages},
          {"date", environment.date}};
}

Json to_json(const ModelInfo& info) {
  const auto token = [](const std::optional<TokenId>& id) { return id ? Json(*id) : Json(); };
  Json outputs = Json::array();
  for (const OutputInfo& output : info.outputs) {
    outputs.push_back({{"name", output.name}, {"size", output.size}});
  }
  return {{"model_type", info.model_type},
          {"source", info.source},
          {"dtype", data_type_name(info.dtype)},
          {"cache_dtype", data_type_name(info.cache_dtype)},
          {"weights", info.weights},
          {"activations", info.activations},
          {"num_layers", info.num_layers},
          {"num_heads", info.num_heads},
          {"num_kv_heads", info.num_kv_heads},
          {"head_dim", info.head_dim},
          {"hidden_size", info.hidden_size},
          {"vocab_size", info.vocab_size},
          {"max_seq_len", info.max_seq_len},
          {"outputs", outputs},
          {"bos_token_id", token(info.bos_token_id)},
          {"eos_token_id", token(info.eos_token_id)},
          {"pad_token_id", token(info.pad_token_id)},
          {"stop_token_ids", info.stop_token_ids},
          {"model_bytes", info.model_bytes},
          {"weight_bytes_per_token", info.weight_bytes_per_token},
          {"cache_bytes_per_token", info.cache_bytes_per_token()},
          {"cache_bytes_per_sequence", info.max_seq_len * info.cache_bytes_per_token()},
          {"digest", info.digest}};
}

Json to_json(const Agreement& agreement) {
  Json json = {{"holds", agreement.holds()},
               {"tokens_compared", agreement.tokens_compared()},
               {"equal", agreement.equal},
               {"ties", agreement.ties},
               {"different", agreement.different},
               {"logits_compared", agreement.logits_compared},
               {"largest_logit_difference", nullptr},  // JSON knows no infinity
               {"tolerance", agreement.tolerance}};
  if (std::isfinite(agreement.largest_logit_difference)) {
    json["largest_logit_difference"] = agreement.largest_logit_difference;
  }
  return json;
}

Json to_json(const BandwidthResult& bandwidth) {
  Json shapes = Json::object();
  for (const ShapeBandwidth& shape : bandwidth.shapes) {
    shapes[shape.shape] = {{"median", median(shape.samples)}, {"samples", shape.samples}};
  }
  return {{"bytes_per_second", bandwidth.bytes_per_second},
          {"shape", bandwidth.shapes.at(bandwidth.best).shape},
          {"threads", bandwidth.threads},
          {"array_bytes", bandwidth.array_bytes},
          {"shapes", shapes}};
}

Json times_to_json(const std::vector<double>& milliseconds) {
  const Summary summary = summarize(milliseconds);
  return {{"count", summary.count}, {"min_ms", summary.min}, {"median_ms", summary.median},
          {"p90_ms", summary.p90},  {"max_ms", summary.max}, {"samples_ms", milliseconds}};
}

}  // namespace kvcache::report
