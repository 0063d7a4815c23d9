#include "support/window_reference.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "device/ort_environment.hpp"
#include "ort/contract.hpp"

namespace kvcache::test {
namespace {

std::vector<std::size_t> windows_of_layers(const fs::path& model) {
  std::ifstream config(model / "config.json");
  const auto spec = nlohmann::json::parse(config).at("spec");
  std::vector<std::size_t> windows;
  for (const auto& layer : spec.at("layers")) {
    const auto& window = layer.at("attention").at("window");
    windows.push_back(window.is_null() ? 0 : window.get<std::size_t>());
  }
  return windows;
}

/// A thread alone: others would cost more than a tiny model's token.
Ort::SessionOptions one_thread() {
  Ort::SessionOptions options;
  options.SetIntraOpNumThreads(1);
  return options;
}

}  // namespace

WindowReference::WindowReference(const fs::path& model, const ModelInfo& info,
                                 const WindowOptions& options)
    : env_(device::ort_environment(false)),
      session_(*env_, graph_of(model).c_str(), one_thread()),
      info_(info),
      options_(options),
      layer_windows_(windows_of_layers(model)),
      pools_(2 * info.num_layers) {}

std::vector<float> WindowReference::append(TokenId token) {
  if (kept_.size() == options_.size + options_.stride) {
    slide();
  }
  return run(token);
}

std::vector<TokenId> WindowReference::context() const {
  std::vector<TokenId> tokens;
  std::ranges::transform(kept_, std::back_inserter(tokens),
                         [this](std::size_t index) { return text_[index]; });
  return tokens;
}

void WindowReference::slide() {
  ++slides_;
  const auto sinks = kept_.begin() + static_cast<std::ptrdiff_t>(options_.sinks);
  kept_.erase(sinks, sinks + static_cast<std::ptrdiff_t>(options_.stride));
  if (text_.size() + options_.stride <= info_.max_seq_len) {
    return;
  }
  ++times_begun_anew_;
  const std::vector<TokenId> tokens = context();
  text_.clear();
  kept_.clear();
  pools_.assign(pools_.size(), {});
  for (const TokenId token : tokens) {
    run(token);
  }
}

/// [num_kv_heads, tokens, vector]
std::vector<float> WindowReference::gather(std::size_t pool,
                                           std::span<const std::size_t> tokens) const {
  std::vector<float> gathered;
  for (std::size_t head = 0; head < info_.num_kv_heads; ++head) {
    for (const std::size_t token : tokens) {
      const auto vector =
          pools_[pool][token].begin() + static_cast<std::ptrdiff_t>(head * info_.head_dim);
      gathered.insert(gathered.end(), vector, vector + static_cast<std::ptrdiff_t>(info_.head_dim));
    }
  }
  return gathered;
}

std::vector<float> WindowReference::run(TokenId token) {
  const auto memory = Ort::MemoryInfo::CreateCpu(OrtDeviceAllocator, OrtMemTypeDefault);
  auto position = static_cast<std::int64_t>(text_.size());
  const std::array<std::int64_t, 2> one{1, 1};
  std::vector<std::string> inputs{"input_ids", "position_ids"};
  std::vector<std::string> outputs{"logits"};
  std::vector<Ort::Value> values;
  values.push_back(Ort::Value::CreateTensor(memory, &token, 1, one.data(), one.size()));
  values.push_back(Ort::Value::CreateTensor(memory, &position, 1, one.data(), one.size()));
  std::vector<std::vector<float>> pasts(pools_.size());
  for (std::size_t pool = 0; pool < pools_.size(); ++pool) {
    const std::size_t layer = pool / 2;
    const std::size_t window = layer_windows_[layer];
    const std::size_t seen = window == 0 ? kept_.size() : std::min(window - 1, kept_.size());
    pasts[pool] = gather(pool, std::span(kept_).last(seen));
    const std::array<std::int64_t, 4> shape{1, static_cast<std::int64_t>(info_.num_kv_heads),
                                            static_cast<std::int64_t>(seen),
                                            static_cast<std::int64_t>(info_.head_dim)};
    pasts[pool].reserve(1);  // of none, too, an address
    values.push_back(Ort::Value::CreateTensor(memory, pasts[pool].data(), pasts[pool].size(),
                                              shape.data(), shape.size()));
    const bool key = pool % 2 == 0;
    inputs.push_back(key ? ort::past_key_name(layer) : ort::past_value_name(layer));
    outputs.push_back(key ? ort::present_key_name(layer) : ort::present_value_name(layer));
  }
  const auto names_of = [](const std::vector<std::string>& names) {
    std::vector<const char*> pointers;
    std::ranges::transform(names, std::back_inserter(pointers), &std::string::c_str);
    return pointers;
  };
  const std::vector<Ort::Value> results =
      session_.Run(Ort::RunOptions(), names_of(inputs).data(), values.data(), values.size(),
                   names_of(outputs).data(), outputs.size());
  for (std::size_t pool = 0; pool < pools_.size(); ++pool) {
    const Ort::Value& present = results[1 + pool];
    const auto length = static_cast<std::size_t>(present.GetTensorTypeAndShapeInfo().GetShape()[2]);
    std::vector<float> added;
    for (std::size_t head = 0; head < info_.num_kv_heads; ++head) {
      const float* last =
          present.GetTensorData<float>() + ((head + 1) * length - 1) * info_.head_dim;
      added.insert(added.end(), last, last + info_.head_dim);
    }
    pools_[pool].push_back(std::move(added));
  }
  kept_.push_back(text_.size());
  text_.push_back(token);
  const auto* logits = results[0].GetTensorData<float>();
  return {logits, logits + info_.vocab_size};
}

}  // namespace kvcache::test
