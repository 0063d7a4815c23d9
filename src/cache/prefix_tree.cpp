#include "cache/prefix_tree.hpp"

#include <algorithm>
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

void PrefixTree::use(std::span<Node* const> path) noexcept {
  ++time_;
  for (Node* node : path) {
    auto leaf = leaves_.extract(node);  // the order depends on the time
    node->used = time_;
    if (!leaf.empty()) {
      leaves_.insert(std::move(leaf));  // nothing is allocated
    }
  }
}

void PrefixTree::insert(std::span<const TokenId> tokens, std::span<const Block> blocks) {
  const std::size_t whole = tokens.size() / block_len_;
  const Found found = find(tokens.first(whole * block_len_));
  std::vector<Node*> path = found.nodes;
  path.resize(found.tokens / block_len_);  // without a node that is known in part
  if (path.size() == whole) {
    return use(path);
  }
  // All that can fail comes before the tree changes.
  const std::size_t known = path.size();
  Branch branch = grow(path, tokens.subspan(known * block_len_), blocks.subspan(known));
  use(std::span(path).first(known));
  const std::size_t room = make_room(whole - known);
  if (room > 0) {
    attach(std::move(branch), std::span(path).first(known + room), known);
  }
}

/// Destroys a chain of nodes from its beginning: those that destroy their children would recurse as
/// deep as it is long.
void PrefixTree::dismantle(Children& chain) noexcept {
  while (!chain.empty()) {
    Children rest = std::move(chain.begin()->second->children);
    chain = std::move(rest);
  }
}

/// Nodes for whole chunks behind `path`, which takes them up: each the child of the one before.
PrefixTree::Branch PrefixTree::grow(std::vector<Node*>& path, std::span<const TokenId> tokens,
                                    std::span<const Block> blocks) const {
  Branch branch;
  const std::size_t known = path.size();
  path.reserve(known + blocks.size());
  for (std::size_t i = 0; i < blocks.size() && (i + 1) * block_len_ <= tokens.size(); ++i) {
    const auto chunk = tokens.subspan(i * block_len_, block_len_);
    Node* const parent = path.empty() ? nullptr : path.back();
    Children& children = i == 0 ? branch.root : parent->children;
    auto node = std::make_unique<Node>(Node{.parent = parent,
                                            .position = {},
                                            .depth = path.size(),
                                            .block = blocks[i].share(),
                                            .used = 0,
                                            .children = {}});
    const auto position =
        children.emplace(std::vector(chunk.begin(), chunk.end()), std::move(node)).first;
    position->second->position = position;
    path.push_back(position->second.get());
  }
  branch.leaf = Leaves{path.back()}.extract(path.back());
  return branch;
}

/// Forgets the least recently used leaves until there is room for `count` more nodes, or all that
/// is left was just used; how many there is room for.
std::size_t PrefixTree::make_room(std::size_t count) noexcept {
  while (max_blocks_ - size_ < count && !leaves_.empty() && (*leaves_.begin())->used != time_) {
    remove(*leaves_.begin());
    ++evicted_;
  }
  return std::min(count, max_blocks_ - size_);
}

/// Makes the nodes of `path` from the `known`-th on, the beginning of `branch`, part of the tree.
void PrefixTree::attach(Branch branch, std::span<Node* const> path, std::size_t known) noexcept {
  Node* const parent = known == 0 ? nullptr : path[known - 1];
  if (parent != nullptr) {
    leaves_.erase(parent);
  }
  const auto first = children_of(parent).insert(branch.root.extract(branch.root.begin())).position;
  first->second->position = first;
  for (Node* node : path.subspan(known)) {
    node->used = time_;
    ++size_;
  }
  dismantle(path.back()->children);  // what there was no room for
  branch.leaf.value() = path.back();
  leaves_.insert(std::move(branch.leaf));
}

PrefixTree::Children& PrefixTree::children_of(Node* node) noexcept {
  return node == nullptr ? roots_ : node->children;
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

std::size_t PrefixTree::evict_unshared(std::size_t bytes) noexcept {
  const auto unshared = [](const Node* node) { return node->block.exclusive_bytes() > 0; };
  const std::size_t freed = evict_leaves(bytes, unshared);
  // A sequence that has given back its beginning still holds what follows it.
  const auto follows_unshared = [&](const Node* node) {
    while (node != nullptr && !unshared(node)) {
      node = node->parent;
    }
    return node != nullptr;
  };
  return freed < bytes ? freed + evict_leaves(bytes - freed, follows_unshared) : freed;
}

/// The least recently used first, and parents as they become leaves.
template <typename Condition>
std::size_t PrefixTree::evict_leaves(std::size_t bytes, const Condition& may_go) noexcept {
  std::size_t freed = 0;
  for (auto at = leaves_.begin(); freed < bytes && at != leaves_.end();) {
    Node* leaf = *at;
    if (!may_go(leaf)) {
      ++at;
      continue;
    }
    // A parent that becomes a leaf was used no earlier: it stands behind.
    const auto next = std::next(at);
    Node* after = next == leaves_.end() ? nullptr : *next;
    Node* parent = leaf->parent;
    freed += leaf->block.exclusive_bytes();
    remove(leaf);
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
