#include "cache/prefix_tree.hpp"

#include <functional>
#include <iterator>
#include <tuple>
#include <utility>

namespace kvcache::cache {
namespace {

std::size_t common_length(std::span<const TokenId> a, std::span<const TokenId> b) {
  return static_cast<std::size_t>(std::ranges::mismatch(a, b).in1 - a.begin());
}

}  // namespace

bool PrefixTree::LessRecentlyUsed::operator()(const Node* a, const Node* b) const noexcept {
  return std::tuple(a->used, b->depth, a) < std::tuple(b->used, a->depth, b);
}

PrefixTree::PrefixTree(std::size_t block_len, std::size_t max_blocks)
    : block_len_(block_len), max_blocks_(max_blocks) {}

PrefixTree::~PrefixTree() { clear(); }

PrefixTree::Found PrefixTree::find(std::span<const TokenId> tokens) const {
  Found found{{}, 0};
  const Children* children = &roots_;
  while (!tokens.empty()) {
    const auto chunk = tokens.first(std::min(block_len_, tokens.size()));
    // The child that shares most with the chunk stands where the chunk would, or just before.
    auto best = children->lower_bound(chunk);
    const auto shared_with = [&](Children::const_iterator child) {
      return child == children->end() ? 0 : common_length(child->first, chunk);
    };
    if (best != children->begin() && shared_with(std::prev(best)) > shared_with(best)) {
      --best;
    }
    const std::size_t shared = shared_with(best);
    if (shared == 0) {
      break;
    }
    found.nodes.push_back(best->second.get());
    found.tokens += shared;
    if (shared < block_len_) {
      break;
    }
    children = &best->second->children;
    tokens = tokens.subspan(block_len_);
  }
  return found;
}

std::size_t PrefixTree::match(std::span<const TokenId> tokens) const { return find(tokens).tokens; }

std::vector<Block> PrefixTree::share(std::span<const TokenId> tokens) {
  const Found found = find(tokens);
  std::vector<Block> blocks;
  blocks.reserve(found.nodes.size());
  std::ranges::transform(found.nodes, std::back_inserter(blocks),
                         [](const Node* node) { return node->block.share(); });
  use(found.nodes);
  return blocks;
}

void PrefixTree::use(std::span<Node* const> path) {
  ++time_;
  for (Node* node : path) {
    const bool was_leaf = leaves_.erase(node) > 0;  // the order depends on the time
    node->used = time_;
    if (was_leaf) {
      leaves_.insert(node);
    }
  }
}

void PrefixTree::insert(std::span<const TokenId> tokens, std::span<const Block> blocks) {
  const std::size_t whole = tokens.size() / block_len_;
  const Found found = find(tokens.first(whole * block_len_));
  std::vector<Node*> path = found.nodes;
  path.resize(found.tokens / block_len_);  // without a node that is known in part
  use(path);
  for (std::size_t i = path.size(); i < whole; ++i) {
    if (size_ == max_blocks_) {
      Node* oldest = leaves_.empty() ? nullptr : *leaves_.begin();
      if (oldest == nullptr || oldest->used == time_) {
        return;  // all that is left is this very prefix
      }
      remove(oldest);
      ++evicted_;
    }
    path.push_back(add(path.empty() ? nullptr : path.back(),
                       tokens.subspan(i * block_len_, block_len_), blocks[i]));
  }
}

PrefixTree::Children& PrefixTree::children_of(Node* node) noexcept {
  return node == nullptr ? roots_ : node->children;
}

PrefixTree::Node* PrefixTree::add(Node* parent, std::span<const TokenId> chunk,
                                  const Block& block) {
  auto owned = std::make_unique<Node>(Node{.parent = parent,
                                           .position = {},
                                           .depth = parent == nullptr ? 0 : parent->depth + 1,
                                           .block = block.share(),
                                           .used = time_,
                                           .children = {}});
  Node* node = owned.get();
  leaves_.insert(node);
  try {
    node->position = children_of(parent)
                         .emplace(std::vector(chunk.begin(), chunk.end()), std::move(owned))
                         .first;
  } catch (...) {  // out of memory
    leaves_.erase(node);
    throw;
  }
  if (parent != nullptr) {
    leaves_.erase(parent);
  }
  ++size_;
  return node;
}

void PrefixTree::remove(Node* leaf) noexcept {
  auto place = leaves_.extract(leaf);
  Node* parent = leaf->parent;
  children_of(parent).erase(leaf->position);
  --size_;
  if (parent != nullptr && parent->children.empty()) {
    place.value() = parent;  // nothing is allocated
    leaves_.insert(std::move(place));
  }
}

std::size_t PrefixTree::evict_unshared(std::size_t count) noexcept {
  std::size_t freed = 0;
  for (auto at = leaves_.begin(); freed < count && at != leaves_.end();) {
    Node* leaf = *at;
    if (!leaf->block.exclusive()) {
      ++at;
      continue;
    }
    // A parent that becomes a leaf was used no earlier: it stands behind.
    const auto next = std::next(at);
    Node* after = next == leaves_.end() ? nullptr : *next;
    Node* parent = leaf->parent;
    remove(leaf);
    ++freed;
    ++evicted_;
    if (parent != nullptr && parent->children.empty() &&
        (after == nullptr || LessRecentlyUsed()(parent, after))) {
      after = parent;
    }
    at = after == nullptr ? leaves_.end() : leaves_.find(after);
  }
  return freed;
}

void PrefixTree::clear() noexcept {
  // Leaf by leaf: a chain of nodes that destroy their children would recurse as deep as it is long.
  while (!leaves_.empty()) {
    remove(*leaves_.begin());
  }
}

}  // namespace kvcache::cache
