#include "ort/attention_settings.hpp"

#include <algorithm>
#include <type_traits>

#include "base/float16.hpp"
#include "ort/attention_tensors.hpp"
#include "ort/node_info.hpp"

namespace kvcache::ort {
namespace {

/// A constant of small size, read where ONNX Runtime has it.
ConstantInput small_constant(const OrtKernelInfo* info, std::size_t input, const std::string& node,
                             std::size_t element_size, weights::WeightStore* store) {
  ConstantInput constant = constant_input(info, input, node);
  if (store != nullptr) {
    store->read_in_place(constant.value.GetTensorRawData(), constant.elements() * element_size);
  }
  return constant;
}

/// The sizes of the tables of angles.
kernels::Rotary rotary_sizes(const OrtKernelInfo* info, const std::string& node) {
  if (!has_input(info, kCos)) {
    return {};
  }
  const Shape cos = declared_shape(info, kCos);
  check(cos.size() == 2 && cos == declared_shape(info, kSin), node,
        "cos and sin must be [max_seq_len, dims / 2]");
  check(has_input(info, kAttentionPositionIds), node,
        "with cos and sin, position_ids must be there");
  return {.positions = cos[0],
          .dims = 2 * cos[1],
          .interleaved = attribute_or<std::int64_t>(info, "rotary_interleaved", 0) != 0};
}

template <typename T>
void add_norms(const OrtKernelInfo* info, const std::string& node, weights::WeightStore* store,
               AttentionSettings& settings) {
  const ConstantInput query = small_constant(info, kQueryNormWeight, node, sizeof(T), store);
  const ConstantInput key = small_constant(info, kKeyNormWeight, node, sizeof(T), store);
  if constexpr (std::is_same_v<T, float>) {
    settings.rules.norm.query_weight = query.value.GetTensorData<float>();
    settings.rules.norm.key_weight = key.value.GetTensorData<float>();
  } else {
    for (const ConstantInput* weight : {&query, &key}) {
      const auto* const values = raw_data<T>(weight->value);
      std::transform(values, values + settings.norm_size, std::back_inserter(settings.converted),
                     [](T value) { return static_cast<float>(value); });
    }
    settings.rules.norm.query_weight = settings.converted.data();
    settings.rules.norm.key_weight = settings.converted.data() + settings.norm_size;
  }
}

}  // namespace

AttentionSettings attention_sizes(const OrtKernelInfo* info, const std::string& node,
                                  const model::LayerGroups& groups, GraphFacts& facts) {
  const Ort::ConstKernelInfo attributes(info);
  AttentionSettings settings;
  settings.num_heads = attributes.GetAttribute<std::int64_t>("num_heads");
  settings.num_kv_heads = attribute_or(info, "num_kv_heads", settings.num_heads);
  settings.scale = attributes.GetAttribute<float>("scale");
  settings.rules.window = attribute_or<std::int64_t>(info, "window", 0);
  settings.rules.soft_cap = attribute_or<float>(info, "soft_cap", 0);
  check(settings.num_kv_heads > 0 && settings.num_heads > 0 &&
            settings.num_heads % settings.num_kv_heads == 0,
        node, "num_kv_heads must divide num_heads");
  check(settings.rules.window >= 0 && settings.rules.soft_cap >= 0, node,
        "window and soft_cap must be positive, or be left out");
  const auto window =
      static_cast<std::size_t>(settings.rules.window);  // config.json's: check_facts
  settings.group = {.group = static_cast<std::int64_t>(groups.group_of(window)),
                    .groups = static_cast<std::int64_t>(groups.size())};
  settings.rules.rotary = rotary_sizes(info, node);
  if (has_input(info, kQueryNormWeight)) {
    const Shape query = declared_shape(info, kQueryNormWeight);
    check(query.size() == 1 && query == declared_shape(info, kKeyNormWeight), node,
          "q_norm_weight and k_norm_weight must be [head_dim]");
    settings.norm_size = query[0];
    settings.rules.norm.epsilon = attributes.GetAttribute<float>("epsilon");
  }
  facts.attentions.insert_or_assign(
      attributes.GetNodeName(),
      GraphFacts::Attention{.num_heads = settings.num_heads,
                            .num_kv_heads = settings.num_kv_heads,
                            .scale = settings.scale,
                            .window = settings.rules.window,
                            .soft_cap = settings.rules.soft_cap,
                            .rotary_dims = settings.rules.rotary.dims,
                            .rotary_positions = settings.rules.rotary.positions,
                            .norm_epsilon = settings.rules.norm.epsilon});
  return settings;
}

template <typename T>
AttentionSettings attention_settings(const OrtKernelInfo* info, const std::string& node,
                                     weights::WeightStore* store, const model::LayerGroups& groups,
                                     GraphFacts& facts) {
  AttentionSettings settings = attention_sizes(info, node, groups, facts);
  if (settings.rules.rotary.dims > 0) {
    const auto angles = [&](std::size_t input) {
      return small_constant(info, input, node, sizeof(float), store).value.GetTensorData<float>();
    };
    settings.rules.rotary.cos = angles(kCos);
    settings.rules.rotary.sin = angles(kSin);
  }
  if (settings.norm_size > 0) {
    add_norms<T>(info, node, store, settings);
  }
  return settings;
}

template AttentionSettings attention_settings<float>(const OrtKernelInfo*, const std::string&,
                                                     weights::WeightStore*,
                                                     const model::LayerGroups&, GraphFacts&);
template AttentionSettings attention_settings<Float16>(const OrtKernelInfo*, const std::string&,
                                                       weights::WeightStore*,
                                                       const model::LayerGroups&, GraphFacts&);
template AttentionSettings attention_settings<BFloat16>(const OrtKernelInfo*, const std::string&,
                                                        weights::WeightStore*,
                                                        const model::LayerGroups&, GraphFacts&);

}  // namespace kvcache::ort
