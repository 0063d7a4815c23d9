#include "ort/facts.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <string>
#include <string_view>

#include "base/throw_error.hpp"
#include "plan/plan.hpp"

namespace kvcache::ort {
namespace {

template <typename Said, typename Found>
[[noreturn]] void mismatch(const model::Config& config, std::string_view field, const Said& said,
                           std::string_view what, const Found& found) {
  throw_error(ErrorCode::config_mismatch,
              "config.json of {} says {} {}, but {} of the graph {}; export the model again",
              config.directory.string(), field, said, what, found);
}

void check_size(const model::Config& config, std::string_view field, std::size_t said,
                std::string_view what, std::int64_t found) {
  if (found != static_cast<std::int64_t>(said)) {
    mismatch(config, field, said, what, fmt::format("has {}", found));
  }
}

/// A position or token beyond its table would be read from whatever lies behind it.
void check_embedding(const model::Config& config, const GraphFacts::Embedding& embedding) {
  const ModelInfo& info = config.info;
  if (embedding.max_seq_len) {
    check_size(config, "max_seq_len", info.max_seq_len, "the position table",
               *embedding.max_seq_len);
  }
  check_size(config, "vocab_size", info.vocab_size, "the token table", embedding.vocab_size);
  check_size(config, "hidden_size", info.hidden_size, "a token's row", embedding.hidden_size);
  if (config.spec.embedding_scale != embedding.scale) {
    mismatch(config, "embedding.scale", config.spec.embedding_scale, "the embedding",
             fmt::format("has {}", embedding.scale));
  }
}

/// Node by node, so that whoever follows the spec does what the graph says.
class SpecCheck {
 public:
  SpecCheck(const model::Config& config, const GraphFacts& facts)
      : config_(config), facts_(facts) {}

  void layer(std::size_t number, const model::LayerSpec& layer) const {
    const auto node = [&](std::string_view role) { return plan::layer_node(number, role); };
    const auto hidden = static_cast<std::int64_t>(config_.spec.hidden_size);
    const std::size_t heads = layer.attention.num_heads + 2 * layer.attention.num_kv_heads;
    const std::string_view activation =
        plan::activates_within_product(layer.mlp) ? std::string_view(layer.mlp.activation) : "";
    product(node("attention.qkv"), static_cast<std::int64_t>(heads * layer.attention.head_dim),
            &layer.norm);
    const float post_epsilon = layer.post_norm ? layer.post_norm->epsilon : 0;
    product(node("attention.output"), hidden, nullptr);
    post_norm(node("attention.output"), post_epsilon);
    product(node("mlp.up"), static_cast<std::int64_t>(layer.mlp.inner_size), &layer.norm,
            activation, layer.mlp.gated);
    product(node("mlp.down"), hidden, nullptr);
    post_norm(node("mlp.down"), post_epsilon);
    attention(node("attention"), layer.attention);
  }

  void head() const {
    product(plan::kHeadNode, static_cast<std::int64_t>(config_.spec.vocab_size),
            &config_.spec.final_norm, "", false, config_.spec.logits_soft_cap.value_or(0));
    for (const auto& [node, epsilon] : facts_.norms) {
      compare(node, "epsilon", config_.spec.final_norm.epsilon, epsilon);
    }
  }

 private:
  template <typename Value>
  void compare(const std::string& node, std::string_view what, const Value& said,
               const Value& found) const {
    if (said != found) {
      mismatch(config_, fmt::format("{} of {}", what, node), said, "the node",
               fmt::format("has {}", found));
    }
  }

  void product(const std::string& node, std::int64_t outputs, const model::NormSpec* norm,
               std::string_view activation = "", bool gated = false, float soft_cap = 0) const {
    if (const auto found = facts_.products.find(node); found != facts_.products.end()) {
      compare(node, "outputs", outputs, found->second.outputs);
      compare(node, "norm",
              std::string(norm == nullptr                             ? ""
                          : norm->kind == model::NormKind::layer_norm ? "layer_norm"
                                                                      : "rms_norm"),
              found->second.norm);
      compare(node, "epsilon", norm == nullptr ? 0 : norm->epsilon, found->second.epsilon);
      compare(node, "activation", std::string(activation), found->second.activation);
      compare(node, "gated", gated, found->second.gated);
      compare(node, "soft_cap", soft_cap, found->second.soft_cap);
    }
  }

  void post_norm(const std::string& node, float epsilon) const {
    if (const auto found = facts_.products.find(node); found != facts_.products.end()) {
      compare(node, "epsilon of post_norm", epsilon, found->second.post_epsilon);
    }
  }

  void attention(const std::string& node, const model::AttentionSpec& spec) const {
    if (const auto found = facts_.attentions.find(node); found != facts_.attentions.end()) {
      compare(node, "num_heads", static_cast<std::int64_t>(spec.num_heads),
              found->second.num_heads);
      compare(node, "num_kv_heads", static_cast<std::int64_t>(spec.num_kv_heads),
              found->second.num_kv_heads);
      compare(node, "scale", spec.scale, found->second.scale);
      compare(node, "window", static_cast<std::int64_t>(spec.window.value_or(0)),
              found->second.window);
      compare(node, "soft_cap", spec.soft_cap.value_or(0), found->second.soft_cap);
      compare(node, "rotary.dims", static_cast<std::int64_t>(spec.rotary ? spec.rotary->dims : 0),
              found->second.rotary_dims);
      compare(node, "epsilon of qk_norm", spec.qk_norm ? spec.qk_norm->epsilon : 0,
              found->second.norm_epsilon);
      if (spec.rotary) {  // a position beyond them would be read from whatever lies behind
        compare(node, "max_seq_len", static_cast<std::int64_t>(config_.spec.max_seq_len),
                found->second.rotary_positions);
      }
    }
  }

  const model::Config& config_;
  const GraphFacts& facts_;
};

/// "none" for no types.
std::string join(const std::set<std::string>& types) {
  return types.empty() ? "none" : fmt::format("{}", fmt::join(types, ", "));
}

void check_types(const model::Config& config, const GraphFacts& facts) {
  const ModelInfo& info = config.info;
  // Overrides may name other types for all matrices of a kind, and some that no matrix has. What
  // is no matrix by a role, as a value head's, is of the model's own type.
  std::set<std::string> known = config.overrides;
  known.insert({info.weights, std::string(data_type_name(info.dtype))});
  if (config.overrides.empty() ? !facts.weights.contains(info.weights)
                               : !std::ranges::includes(known, facts.weights)) {
    mismatch(config, "weights", info.weights, "the matrices",
             fmt::format("are {}", join(facts.weights)));
  }
  const bool rounds = info.activations != data_type_name(info.dtype);
  const bool as_said = rounds ? facts.rounded_to == std::set{info.activations} ||
                                    (facts.rounded_to.empty() && !config.overrides.empty())
                              : facts.rounded_to.empty();
  if (!as_said) {
    mismatch(config, "activations", info.activations, "the products",
             fmt::format("round them to {}", join(facts.rounded_to)));
  }
}

}  // namespace

void check_facts(const GraphFacts& facts, const model::Config& config) {
  if (facts.embedding) {
    check_embedding(config, *facts.embedding);
  }
  const SpecCheck nodes(config, facts);
  for (std::size_t layer = 0; layer < config.spec.layers.size(); ++layer) {
    nodes.layer(layer, config.spec.layers[layer]);
  }
  nodes.head();
  if (!facts.weights.empty()) {
    check_types(config, facts);
  }
}

}  // namespace kvcache::ort
