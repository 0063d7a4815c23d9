#include "kvcache/shared_model_inferencer.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "base/throw_error.hpp"
#include "kvcache/batch.hpp"
#include "ort/error_boundary.hpp"
#include "policy/value_output.hpp"

namespace kvcache {

SharedModelInferencer::SharedModelInferencer(const std::filesystem::path& path,
                                             const ModelOptions& options, CacheMode cache_mode)
    : SharedModelInferencer(Model::load(path, options), cache_mode) {}

SharedModelInferencer::SharedModelInferencer(Model model, CacheMode cache_mode) try
    : model_(std::move(model)),
      prefixes_(cache_mode == CacheMode::on ? std::make_shared<PrefixCache>(model_) : nullptr) {
} catch (...) {
  rethrow_as_error(kRun);
}

bool SharedModelInferencer::has_value() const noexcept {
  return policy::has_value_output(model_.info());
}

PrefixCacheStats SharedModelInferencer::prefix_stats() const {
  return prefixes_ ? prefixes_->stats() : PrefixCacheStats{};
}

/// Each prefix but for its last token, which belongs to the tree: so none is computed twice, and
/// those that differ in their last token only share the rest.
std::vector<Sequence> SharedModelInferencer::sequences_of(
    std::span<const std::span<const TokenId>> prefixes) const {
  std::vector<Sequence> sequences;
  std::vector<Extension> missing;
  sequences.reserve(prefixes.size());
  for (const std::span<const TokenId> prefix : prefixes) {
    if (prefix.empty()) {
      throw_error(ErrorCode::empty_input, "prefix {} is empty; it must have at least one token",
                  sequences.size());
    }
    sequences.push_back(prefixes_ ? prefixes_->acquire(prefix) : model_.new_sequence());
    const std::size_t known = sequences.back().length();
    if (const auto rest = prefix.subspan(known).first(prefix.size() - 1 - known); !rest.empty()) {
      missing.push_back({&sequences.back(), rest});
    }
  }
  if (!missing.empty()) {
    static_cast<void>(extend(missing));
  }
  if (prefixes_) {
    for (const Sequence& sequence : sequences) {
      if (sequence.first_cached() == 0) {  // what has given blocks back is no prefix any more
        prefixes_->insert(sequence);
      }
    }
  }
  return sequences;
}

std::vector<TreeEvaluation> SharedModelInferencer::policy_inference(
    std::span<const PolicyInput> batch) const try {
  std::vector<std::span<const TokenId>> prefixes;
  for (const PolicyInput& input : batch) {
    if (input.evaluated == nullptr) {
      throw_error(ErrorCode::invalid_argument, "element {} of the batch names no tree",
                  prefixes.size());
    }
    prefixes.push_back(input.prefix);
  }
  const std::vector<Sequence> sequences = sequences_of(prefixes);
  std::vector<TokenTree> trees;
  trees.reserve(batch.size());
  std::vector<TreeOfPrefix> run;
  for (std::size_t i = 0; i < batch.size(); ++i) {
    const TokenTree& evaluated = *batch[i].evaluated;
    TokenTree& tree = trees.emplace_back();
    tree.tokens.push_back(batch[i].prefix.back());
    tree.tokens.insert(tree.tokens.end(), evaluated.tokens.begin(), evaluated.tokens.end());
    tree.parents.push_back(-1);
    std::ranges::transform(evaluated.parents, std::back_inserter(tree.parents),
                           [](std::int32_t parent) { return parent + 1; });
    run.push_back({&sequences[i], &tree});
  }
  return evaluate(run);
} catch (...) {
  rethrow_as_error(kRun);
}

std::vector<float> SharedModelInferencer::value_inference(
    std::span<const std::span<const TokenId>> batch, TokenId value_token) const try {
  policy::require_value_output(model_.info());
  const std::vector<Sequence> sequences = sequences_of(batch);
  std::vector<TokenTree> trees;
  trees.reserve(batch.size());
  std::vector<TreeOfPrefix> run;
  constexpr std::size_t kValueNode[]{1};
  for (std::size_t i = 0; i < batch.size(); ++i) {
    trees.push_back({{batch[i].back(), value_token}, {-1, 0}});
    run.push_back({&sequences[i], &trees.back(), kValueNode});
  }
  std::vector<float> values;
  for (const TreeEvaluation& evaluation : evaluate(run)) {
    values.push_back(evaluation.logits().output(policy::kValueOutput, 0).front());
  }
  return values;
} catch (...) {
  rethrow_as_error(kRun);
}

}  // namespace kvcache
