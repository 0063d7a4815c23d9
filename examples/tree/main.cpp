// A small tree search: in each move all candidates and all their replies are evaluated in one run,
// the best pair is kept without computing it again. Usage: example_tree MODEL_DIR
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <kvcache/kvcache.hpp>
#include <limits>
#include <vector>

namespace {

using kvcache::TokenId;

constexpr std::size_t kCandidates = 4;

/// Logarithm of the probability that a row of logits gives to `token`.
double log_probability(std::span<const float> logits, TokenId token) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float logit : logits) {
    sum += std::exp(logit - largest);
  }
  return logits[static_cast<std::size_t>(token)] - largest - std::log(sum);
}

/// Each candidate, and behind each of them every candidate as a reply: nodes 0 … 3 follow the
/// prefix, nodes 4 … 7 follow node 0, and so on.
kvcache::TokenTree all_pairs(const std::vector<kvcache::TokenScore>& candidates) {
  kvcache::TokenTree tree;
  for (const auto& candidate : candidates) {
    tree.tokens.push_back(candidate.token);
    tree.parents.push_back(-1);
  }
  for (std::size_t parent = 0; parent < candidates.size(); ++parent) {
    for (const auto& reply : candidates) {
      tree.tokens.push_back(reply.token);
      tree.parents.push_back(static_cast<std::int32_t>(parent));
    }
  }
  return tree;
}

int run(const char* directory) {
  const kvcache::Model model = kvcache::Model::load(directory);
  kvcache::Sequence game = model.new_sequence();
  const std::vector<TokenId> opening{3, 1, 4};
  const kvcache::Logits first = game.extend(opening);
  std::vector<float> root(first.last().begin(), first.last().end());

  for (int move = 0; move < 3; ++move) {
    std::vector<kvcache::TokenScore> candidates;
    for (std::size_t token = 0; token < root.size(); ++token) {
      candidates.push_back({static_cast<TokenId>(token), root[token]});
    }
    std::ranges::partial_sort(candidates, candidates.begin() + kCandidates, std::greater<>(),
                              &kvcache::TokenScore::logit);
    candidates.resize(kCandidates);

    const kvcache::TokenTree tree = all_pairs(candidates);
    const kvcache::TreeEvaluation evaluation = game.evaluate(tree);  // one run; game is unchanged

    std::size_t best = 0;
    double best_score = -std::numeric_limits<double>::infinity();
    for (std::size_t node = kCandidates; node < tree.tokens.size(); ++node) {
      const auto parent = static_cast<std::size_t>(tree.parents[node]);
      const double score = log_probability(root, tree.tokens[parent]) +
                           log_probability(evaluation.logits().row(parent), tree.tokens[node]);
      if (score > best_score) {
        best = node;
        best_score = score;
      }
    }
    game.commit(evaluation, best);  // two tokens more, nothing computed
    const auto logits = evaluation.logits().row(best);
    root.assign(logits.begin(), logits.end());
    std::printf("move %d: %lld %lld  (log probability %.3f)\n", move + 1,
                static_cast<long long>(game.tokens()[game.length() - 2]),
                static_cast<long long>(game.tokens().back()), best_score);
  }

  // The logits after the last move, from nothing.
  const kvcache::Logits fresh = model.forward_without_cache(game.tokens());
  double difference = 0;
  double largest = 0;
  for (std::size_t i = 0; i < root.size(); ++i) {
    difference = std::max<double>(difference, std::abs(root[i] - fresh.last()[i]));
    largest = std::max<double>(largest, std::abs(fresh.last()[i]));
  }
  std::printf("%zu tokens; logits differ from a plain forward by %.1e of the largest\n",
              game.length(), difference / largest);
  return difference <= 1e-4 * largest ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: example_tree MODEL_DIR\n");
    return 2;
  }
  try {
    return run(argv[1]);
  } catch (const kvcache::Error& error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return 1;
  }
}
