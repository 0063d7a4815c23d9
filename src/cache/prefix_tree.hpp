// Known prefixes and the blocks that hold them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <vector>

#include "cache/block_pool.hpp"
#include "kvcache/types.hpp"

namespace kvcache::cache {

/// A radix tree over token ids: an edge is the tokens of one whole block, its node holds a
/// reference to that block. At most `max_blocks` of them; the least recently used leaves go first.
/// Not thread-safe.
class PrefixTree {
 public:
  PrefixTree(std::size_t block_len, std::size_t max_blocks);
  ~PrefixTree();
  PrefixTree(const PrefixTree&) = delete;
  PrefixTree& operator=(const PrefixTree&) = delete;

  /// How many of the first `tokens` are known. They may end inside a block.
  [[nodiscard]] std::size_t match(std::span<const TokenId> tokens) const;

  /// The blocks of these tokens, shared; counts as a use of them.
  [[nodiscard]] std::vector<Block> share(std::span<const TokenId> tokens);

  /// Makes the whole blocks among `blocks` known, which hold `tokens`, and counts as a use of them.
  /// What is known already stays where it is.
  /// @throws std::bad_alloc; the tree is then as it was
  void insert(std::span<const TokenId> tokens, std::span<const Block> blocks);

  /// Forgets blocks of which nobody else holds all, until so many bytes are free or none is left;
  /// returns how many bytes that were. Others' blocks go only where such ones lie before them.
  std::size_t evict_unshared(std::size_t bytes) noexcept;

  void clear() noexcept;

  [[nodiscard]] std::size_t size() const noexcept { return size_; }  // in blocks
  [[nodiscard]] std::uint64_t evicted() const noexcept { return evicted_; }

 private:
  struct Node;

  /// Chunks in lexicographic order: the chunk that shares most with another is its neighbour.
  struct Less {
    using is_transparent = void;
    bool operator()(const auto& a, const auto& b) const {
      return std::ranges::lexicographical_compare(a, b);
    }
  };
  using Children = std::map<std::vector<TokenId>, std::unique_ptr<Node>, Less>;

  struct Node {
    Node* parent;
    Children::iterator position;  // in the parent's children
    std::size_t depth;
    Block block;
    std::uint64_t used = 0;  // at this time; never before one of its children
    Children children;
  };

  /// Least recently used first, children before parents of the same time.
  struct LessRecentlyUsed {
    bool operator()(const Node* a, const Node* b) const noexcept;
  };

  using Leaves = std::set<Node*, LessRecentlyUsed>;

  /// New nodes, each the child of the one before, and what the last takes among the leaves.
  struct Branch {
    Branch() = default;
    Branch(Branch&&) noexcept = default;
    Branch& operator=(Branch&&) = delete;
    ~Branch() { dismantle(root); }

    Children root;  // one
    Leaves::node_type leaf;
  };

  struct Found {
    std::vector<Node*> nodes;  // from the root on
    std::size_t tokens;        // of them known; inside the last node's block, or at its end
  };

  [[nodiscard]] Found find(std::span<const TokenId> tokens) const;
  void use(std::span<Node* const> path) noexcept;
  [[nodiscard]] Branch grow(std::vector<Node*>& path, std::span<const TokenId> tokens,
                            std::span<const Block> blocks) const;
  static void dismantle(Children& chain) noexcept;
  [[nodiscard]] std::size_t make_room(std::size_t count) noexcept;
  void attach(Branch branch, std::span<Node* const> path, std::size_t known) noexcept;
  void remove(Node* leaf) noexcept;
  template <typename Condition>
  std::size_t evict_leaves(std::size_t bytes, const Condition& may_go) noexcept;
  [[nodiscard]] Children& children_of(Node* node) noexcept;

  std::size_t block_len_;
  std::size_t max_blocks_;
  std::size_t size_ = 0;
  std::uint64_t time_ = 0;
  std::uint64_t evicted_ = 0;
  Children roots_;
  Leaves leaves_;
};

}  // namespace kvcache::cache
